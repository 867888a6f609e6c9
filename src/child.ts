import { type ChildConfig, openEdge, openRooms, type Rooms } from './app.ts';
import { version } from './config.ts';
import { type Edges, farEdges, ownEdges } from './edges.ts';
import { ChildLink, type ChildProcess, type EdgeReport } from './supervise/index.ts';
import { type Tools, toolsOf } from './tools.ts';

/* What a process of a server does, from the start that its supervisor sends until it is drained. */

/** Runs what the supervisor wants this process to be, until it is drained. */
export async function runChild(
  child: ChildProcess = process,
  toolsFor: (config: ChildConfig, process: string) => Tools = toolsOf,
): Promise<void> {
  const link = await ChildLink.open<ChildConfig>(child);
  const { role, config } = link;
  try {
    if (role.kind === 'store') await runStore(link, config, toolsFor(config, 'store'));
    else await runEdge(link, role.shard, toolsFor(config, `edge-${role.shard}`));
    child.exit(0);
  } catch (error) {
    link.fail(error);
  }
}

async function runEdge(link: ChildLink<ChildConfig>, shard: number, tools: Tools): Promise<void> {
  const { edge, log, close } = await openEdge(link.config, shard, link, tools);
  link.onAsk(async (): Promise<EdgeReport> => {
    const metrics = await tools.metrics.snapshot();
    const { mark, lastSyncAtMs, hasRoom } = log;
    return { shard, mark, lastSyncAtMs, hasRoom, metrics };
  });
  tools.onEdge?.(edge);
  link.ready();

  await link.drained;
  await close();
  await link.lastDurable(log.mark);
}

/** Log → store, and SQL out of it. */
async function runStore(
  link: ChildLink<ChildConfig>,
  config: ChildConfig,
  tools: Tools,
): Promise<void> {
  tools.standBack();
  const rooms = await openRooms(config, tools);
  const { loader, shards } = rooms;
  link.onQuestion((asked, shard) => loader.answer(asked, shard));
  const edges = config.role === 'store' ? farEdges(link, rooms, tools) : ownEdges(link, rooms);
  link.onDurable((shard, mark) => {
    if (shards.includes(shard) && !edges.isOver(shard, mark)) loader.durable(shard, mark);
  });
  const admin = await openAdmin(link, tools, rooms, edges);
  link.ready();

  await Promise.race([link.drained, edges.outgrown]);
  edges.forget();
  await admin?.close();
  await rooms.close();
}

async function openAdmin(
  { config, askEdges }: ChildLink<ChildConfig>,
  tools: Tools,
  rooms: Rooms,
  { count: edges, marks }: Edges,
) {
  const { adminPort: port } = config;
  if (port === undefined) return undefined;
  const { Admin } = await import('./admin/index.ts');
  const parts = { ...tools, ...config, ...rooms, port, version: version() };
  return Admin.open({ ...parts, askEdges, edges, marks });
}
