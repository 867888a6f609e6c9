import { pages } from './api/index.ts';
import { limits, type Mark, Metrics } from './base/index.ts';
import { type Config, type RoomsConfig, version } from './config.ts';
import { Edge } from './edge/index.ts';
import { KeyRing } from './keys/index.ts';
import { LogReader, openShard, shardDirectory, shardsIn } from './log/index.ts';
import type { ChildLink } from './supervise/index.ts';
import { type Tools, toolsOf } from './tools.ts';

/*
 * How the rooms are put together. A server is a supervisor (`cli/serve.ts`) over processes of two
 * kinds (`child.ts`): edges, each with its shard of the log, and one store. Each function here
 * opens rooms in the order in which an event passes through them, and closes them in the same
 * order.
 */

/** What a process is told to run with. Without a port it has no such door. */
export type ChildConfig = Omit<Config, 'port' | 'adminPort'> & {
  readonly port: number | undefined;
  readonly adminPort: number | undefined;
};

/**
 * HTTP → log.
 * @param link hears how far the shard is on disk, and asks the store.
 */
export async function openEdge(
  config: ChildConfig,
  shard: number,
  link: Pick<ChildLink<ChildConfig>, 'durable' | 'explain' | 'settle'>,
  tools: Tools,
) {
  const onGrown = (mark: Mark) => link.durable(mark);
  const { log, close } = await openShard({ ...tools, shard, onGrown });
  const { explain, settle } = link;
  const parts = { settings: config, pages: pages(version()), explain, settle, log, shard };
  const edge = await Edge.open({ ...tools, ...config, ...parts });
  const prove = () => log.probe().then(() => onGrown(log.mark), tools.onFatal);
  const probe = setInterval(() => void prove(), limits.probeEveryMs);
  onGrown(log.mark);
  return {
    edge,
    log,
    close: async () => {
      await edge.close();
      clearInterval(probe);
      await close();
    },
  };
}

/**
 * The rooms behind the log. Shards that no edge of `config` owns are recovered and loaded: those
 * of an earlier server with more edges, or all of them when no server runs (`edges: 0`). A store
 * by itself does not know which shards have edges now: see `farEdges`.
 */
export async function openRooms(config: RoomsConfig, tools: Tools = toolsOf(config, 'command')) {
  // They are large, and edges live without them.
  const [{ Loader }, { Queries }] = await Promise.all([
    import('./loader/index.ts'),
    import('./query/index.ts'),
  ]);
  const { dataDirectory, disk, logger } = tools;
  const store = await tools.openStore(dataDirectory, config);
  const readers = new Map<number, LogReader>();
  const orphans = new Map<number, Mark>();
  const isAlone = config.role === 'store';
  // Alone, it begins with the one shard that there will be in any case.
  for (const shard of await shardsIn(disk, dataDirectory, isAlone ? 1 : config.edges)) {
    if (!isAlone && shard >= config.edges) {
      const metrics = new Metrics(`orphan-${shard}`);
      const { log, close } = await openShard({ ...tools, metrics, shard });
      // Nobody writes it any more: it is complete for ever.
      orphans.set(shard, { ...log.mark, atMs: Number.POSITIVE_INFINITY });
      await close();
    }
    readers.set(shard, await LogReader.open(disk, shardDirectory(dataDirectory, shard)));
  }
  const keys = new KeyRing(disk, dataDirectory, logger);
  const loader = Loader.open({ ...tools, ...config, store, readers, keys });
  for (const [shard, mark] of orphans) loader.durable(shard, mark);
  const close = () => loader.close().then(() => store.close());
  const queries = new Queries({ ...tools, store, freshness: loader });
  const shards = [...readers.keys()];
  return { dataDirectory, store, loader, queries, shards, orphans, close };
}

export type Rooms = Awaited<ReturnType<typeof openRooms>>;
