import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Admin } from './admin/index.ts';
import {
  createLogger,
  DirectoryLock,
  type Logger,
  limits,
  Metrics,
  nodeDisk,
} from './base/index.ts';
import { messageOf, randomIds, systemClock as clock } from './base/index.ts';
import type { Config } from './config.ts';
import { Edge } from './edge/index.ts';
import { KeyRing } from './keys/index.ts';
import { Loader } from './loader/index.ts';
import { LogReader, openShard, shardDirectory, shardsIn } from './log/index.ts';
import { Queries } from './query/index.ts';
import { openStore } from './store/index.ts';
import { ChildLink, type EdgeReport } from './supervise/index.ts';

/*
 * How the rooms are put together. A server is a supervisor (`cli/serve.ts`) over processes of two
 * kinds: edges, each with its shard of the log, and one store. Each function here opens rooms in
 * the order in which an event passes through them, and closes them in the same order.
 */

/** Runs what the supervisor wants this process to be, until it is drained. */
export async function runChild(): Promise<void> {
  const link = await ChildLink.open<Config>();
  try {
    if (link.role.kind === 'edge') await runEdge(link, link.config, link.role.shard);
    else await runStore(link, link.config);
    process.exit(0);
  } catch (error) {
    link.fail(error);
  }
}

/** HTTP → log. */
async function runEdge(link: ChildLink<Config>, config: Config, shard: number): Promise<void> {
  const logger = createLogger(config.logLevel, `edge-${shard}`);
  const metrics = new Metrics(`edge-${shard}`);
  const onGrown = (offset: number) => link.durable(offset);
  const { log, close } = await openShard({
    ...shardOptions(config, logger, metrics),
    shard,
    onGrown,
  });
  const { host, port, edges } = config;
  const sharesPort = edges > 1;
  const edge = await Edge.open({ host, port, sharesPort, log, clock, logger, metrics });
  const probe = setInterval(() => void log.probe().catch(end(logger)), limits.probeEveryMs);
  link.onAsk(async (): Promise<EdgeReport> => {
    const snapshot = await metrics.snapshot();
    const { durableOffset, lastSyncAtMs, hasRoom } = log;
    return { shard, durableOffset, lastSyncAtMs, hasRoom, metrics: snapshot };
  });
  onGrown(log.durableOffset);
  link.ready();

  await link.drained;
  await edge.close();
  clearInterval(probe);
  await close();
}

/** Log → store, and SQL out of it. */
async function runStore(link: ChildLink<Config>, config: Config): Promise<void> {
  const logger = createLogger(config.logLevel, 'store');
  const metrics = new Metrics('store');
  const rooms = await openRooms(config, logger, metrics);
  const { store, loader, queries } = rooms;
  link.onDurable((shard, offset) => loader.durable(shard, offset));
  const { data: dataDirectory, adminPort: port, edges, instance } = config;
  const askEdges = () => link.askEdges();
  const server = { port, dataDirectory, edges, instance, askEdges };
  const admin = await Admin.open({ ...server, store, loader, queries, metrics, clock });
  link.ready();

  await link.drained;
  await admin.close();
  await rooms.close();
}

/**
 * The rooms behind the log. Shards that no edge of `config` owns are recovered and loaded: those
 * of an earlier server with more edges, or all of them when no server runs (`edges: 0`).
 */
export async function openRooms(config: Config, logger: Logger, metrics: Metrics) {
  const { data: dataDirectory } = config;
  await mkdir(join(dataDirectory, 'store'), { recursive: true });
  const holder = () => 'a process of an earlier server that is still ending';
  const lock = DirectoryLock.take(join(dataDirectory, 'store', 'LOCK'), holder, 10_000);
  const store = await openStore(dataDirectory);
  const readers = new Map<number, LogReader>();
  const orphans = new Map<number, number>();
  for (const shard of await shardsOf(config)) {
    if (shard >= config.edges) {
      const { log, close } = await openShard({ ...shardOptions(config, logger, metrics), shard });
      orphans.set(shard, log.durableOffset);
      await close();
    }
    readers.set(shard, await LogReader.open(nodeDisk, shardDirectory(dataDirectory, shard)));
  }
  const keys = new KeyRing(dataDirectory, logger);
  const onFatal = end(logger);
  const loader = Loader.open({ store, readers, keys, clock, logger, metrics, onFatal });
  for (const [shard, offset] of orphans) loader.durable(shard, offset);
  const close = async () => {
    await loader.close();
    await store.close();
    lock.release();
  };
  return { store, loader, queries: new Queries(store), orphans, close };
}

async function shardsOf({ data, edges }: Config): Promise<readonly number[]> {
  const ours = Array.from({ length: edges }, (_, shard) => shard);
  for (const shard of ours) await nodeDisk.makeDirectory(shardDirectory(data, shard));
  return [...new Set([...ours, ...(await shardsIn(nodeDisk, data))])];
}

function shardOptions(config: Config, logger: Logger, metrics: Metrics) {
  const { data: dataDirectory, diskReserve: reserveBytes } = config;
  return {
    dataDirectory,
    reserveBytes,
    disk: nodeDisk,
    clock,
    ids: randomIds,
    logger,
    metrics,
    onFatal: end(logger),
  };
}

/** Ends the process: its supervisor starts it anew, and recovery tells what is on disk. */
function end(logger: Logger): (error: unknown) => void {
  return (error) => {
    logger.error({ error: messageOf(error) }, 'the process ends: what is on disk is not certain');
    process.exit(70);
  };
}
