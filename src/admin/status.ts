import { readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../base/index.ts';
import { listKeys, stateOf } from '../keys/index.ts';
import { keyReasons, type Loader } from '../loader/index.ts';
import type { ParkedGroup, Remainder, Store, TableStatus } from '../store/index.ts';
import type { EdgeReport } from '../supervise/index.ts';
import { completeTo } from './operations.ts';

/** What is on disk, what waits, and what is in the tables. */
export type Status = {
  readonly dataDirectory: string;
  readonly edges: readonly {
    readonly edge: number;
    readonly hasRoom: boolean;
    readonly lastSyncAt: string;
  }[];
  readonly disk: {
    readonly logBytes: number;
    /** What was loaded and is kept as it came; its oldest record. Undefined if there is none. */
    readonly rawBytes: number;
    readonly rawSince: string | undefined;
    readonly storeBytes: number;
    /** Parquet files. */
    readonly lakeBytes: number;
    readonly lakeFiles: number;
    readonly freeBytes: number;
  };
  /** Acknowledged and on disk, not yet queryable. */
  readonly waiting: {
    readonly bytes: number;
    /** Undefined until the edges have counted them. */
    readonly events: number | undefined;
    readonly lagMs: number;
    /** The last load failed and is tried again: see the server's log. */
    readonly failing: boolean;
  };
  readonly tables: readonly TableStatus[];
  /** Files of tables that are not there: queries of these tables fail. */
  readonly missingFiles: readonly string[];
  readonly quarantinedEvents: number;
  /** By how much the books are wrong, as last checked: 0 when every event is where it must be. */
  readonly ledger: Remainder;
  /** All that was acknowledged by then is in the tables. */
  readonly completeTo: string;
  /** Keys that failed, with events in quarantine, the latest first. */
  readonly authFailures: readonly ParkedGroup[];
  /** Undefined when the keys file cannot be read: `keysError` says why. */
  readonly keysInForce?: number;
  readonly keysError?: string;
};

export async function readStatus(
  dataDirectory: string,
  store: Store,
  loader: Loader,
  reports: readonly EdgeReport[],
  nowMs: number,
): Promise<Status> {
  const { shards, lagMs, failing, waitingEvents, remainder, raw } = loader.status();
  const { bavail, bsize } = await statfs(dataDirectory);
  return {
    dataDirectory,
    edges: reports.map(({ shard, hasRoom, lastSyncAtMs }) => ({
      edge: shard,
      hasRoom,
      lastSyncAt: new Date(lastSyncAtMs).toISOString(),
    })),
    disk: {
      logBytes: await logBytes(dataDirectory),
      rawBytes: raw.bytes,
      rawSince: raw.sinceMs === undefined ? undefined : new Date(raw.sinceMs).toISOString(),
      storeBytes: await store.size(),
      lakeBytes: store.lake.size.bytes,
      lakeFiles: store.lake.size.files,
      freeBytes: bavail * bsize,
    },
    waiting: {
      bytes: shards.reduce((sum, { waitingBytes }) => sum + waitingBytes, 0),
      events: waitingEvents,
      lagMs,
      failing,
    },
    tables: await store.tables(),
    missingFiles: store.lake.missing,
    quarantinedEvents: await store.parked.count(),
    ledger: remainder,
    completeTo: completeTo(loader.watermark().toMs),
    authFailures: await store.parked.groups({ reasons: keyReasons }, authFailuresMax),
    ...(await keysStatus(dataDirectory, nowMs)),
  };
}

const authFailuresMax = 20;

/** An operator who looks because the keys are broken must see the rest. */
async function keysStatus(
  dataDirectory: string,
  nowMs: number,
): Promise<Pick<Status, 'keysInForce' | 'keysError'>> {
  try {
    const keys = await listKeys(dataDirectory);
    return { keysInForce: keys.filter((key) => stateOf(key, nowMs) === 'in force').length };
  } catch (error) {
    return { keysError: messageOf(error) };
  }
}

/** Bytes of all shards. */
export async function logBytes(dataDirectory: string): Promise<number> {
  const directory = join(dataDirectory, 'log');
  const names = await readdir(directory, { recursive: true });
  const sizes = names.map(async (name) => {
    // The loader may drop a segment in between.
    const found = await stat(join(directory, name)).catch(() => undefined);
    return found?.isFile() ? found.size : 0;
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
