import { readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../base/index.ts';
import { listKeys, stateOf } from '../keys/index.ts';
import type { Loader } from '../loader/index.ts';
import type { Store, TableStatus } from '../store/index.ts';
import type { EdgeReport } from '../supervise/index.ts';

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
    readonly storeBytes: number;
    readonly freeBytes: number;
  };
  /** Acknowledged and on disk, not yet queryable. */
  readonly waiting: {
    readonly bytes: number;
    readonly lagMs: number;
    /** The last load failed and is tried again: see the server's log. */
    readonly failing: boolean;
  };
  readonly tables: readonly TableStatus[];
  readonly quarantinedEvents: number;
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
  const { shards, lagMs, failing } = loader.status();
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
      storeBytes: await store.size(),
      freeBytes: bavail * bsize,
    },
    waiting: { bytes: shards.reduce((sum, s) => sum + s.waitingBytes, 0), lagMs, failing },
    tables: await store.tables(),
    quarantinedEvents: await store.quarantineCount(),
    ...(await keysStatus(dataDirectory, nowMs)),
  };
}

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
