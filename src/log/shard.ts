import { join } from 'node:path';
import { type Clock, type Disk, type Ids, limits, type Lock } from '../base/index.ts';
import type { Logger, Mark, Metrics } from '../base/index.ts';
import { Log } from './log.ts';
import { shardDirectory } from './segments.ts';

export type ShardOptions = {
  readonly dataDirectory: string;
  readonly shard: number;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly reserveBytes: number | undefined;
  readonly segmentBytes?: number | undefined;
  /** Called after each group. */
  readonly onGrown?: (mark: Mark) => void;
  /** Called once when the disk failed: the process must end. */
  readonly onFatal: (error: unknown) => void;
};

/** A shard that is open for writing, and locked. */
export type OpenShard = { readonly log: Log; readonly close: () => Promise<void> };

/**
 * Locks and opens one shard, counts its syncs and reports what its recovery found.
 * @throws LOCKED when another process writes it, and does not end soon
 */
export async function openShard(options: ShardOptions): Promise<OpenShard> {
  await options.disk.makeDirectory(shardDirectory(options.dataDirectory, options.shard));
  const lock = await lockShard(options, limits.lockWaitMs);
  const log = await openLog(options);
  const close = async () => {
    await log.close();
    lock.release();
  };
  return { log, close };
}

/** @throws LOCKED when another process has it for so long */
export async function lockShard(
  { disk, dataDirectory, shard }: Pick<ShardOptions, 'disk' | 'dataDirectory' | 'shard'>,
  waitMs: number,
): Promise<Lock> {
  const holder = () => 'a process of an earlier server that is still ending';
  return disk.lock(join(shardDirectory(dataDirectory, shard), 'LOCK'), holder, waitMs);
}

/** The caller holds the shard's lock. */
export async function openLog(options: ShardOptions): Promise<Log> {
  const { disk, clock, ids, logger, shard, reserveBytes, segmentBytes, onFatal } = options;
  const directory = shardDirectory(options.dataDirectory, shard);
  const count = counters(options.metrics);
  const log: Log = await Log.open({
    disk,
    clock,
    ids,
    directory,
    onFatal,
    reserveBytes,
    segmentBytes,
    onSync: ({ records, bytes, syncMs }) => {
      count.groups.observe(records);
      count.syncs.observe(syncMs / 1000);
      count.bytes.inc(bytes);
      options.onGrown?.(log.mark);
    },
  });
  options.metrics.gauge('millrace_disk_free_bytes', 'Free room for the log.', () => log.freeBytes);
  options.metrics.gauge(
    'millrace_disk_reserve_bytes',
    'Free room below which events are refused.',
    () => log.reserveBytes,
  );
  const { tornBytes, gaps } = log.recovered;
  if (tornBytes > 0) logger.info({ shard, tornBytes }, 'cut a torn tail off the log');
  for (const gap of gaps) logger.error({ shard, ...gap }, 'damage in the log; it will be skipped');
  return log;
}

function counters(metrics: Metrics) {
  return {
    syncs: metrics.histogram(
      'millrace_wal_fsync_duration_seconds',
      'Time of one synced write.',
      [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
    ),
    groups: metrics.histogram(
      'millrace_wal_group_commit_events',
      'Records of one synced write.',
      [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000],
    ),
    bytes: metrics.counter('millrace_wal_written_bytes_total', 'Bytes synced to the log.'),
  };
}
