import { join } from 'node:path';
import { DirectoryLock } from '../base/index.ts';
import type { Config } from '../config.ts';
import { readServerFile } from './server-file.ts';

/** What one process at a time may do with a data directory: load its log, and write it. */
const files = { store: ['LOCK'], edge: ['log/LOCK'], all: ['LOCK', 'log/LOCK'] } as const;

/**
 * Takes a data directory for a role, trying for `waitMs` while somebody else has it.
 * @returns gives it back
 * @throws LOCKED
 */
export async function takeLocks(
  data: string,
  role: Config['role'],
  waitMs = 0,
): Promise<() => void> {
  const taken: DirectoryLock[] = [];
  const release = () => {
    for (const lock of taken) lock.release();
  };
  try {
    for (const file of files[role]) {
      taken.push(await DirectoryLock.take(join(data, file), () => holderOf(data, file), waitMs));
    }
  } catch (error) {
    release();
    throw error;
  }
  return release;
}

function holderOf(data: string, file: string): string {
  if (file !== 'LOCK') return 'another server that takes postbacks';
  const server = readServerFile(data);
  if (!server) return 'another millrace';
  const { pid, ingest, admin, startedAt } = server;
  return `the server with process id ${pid} (${ingest ?? admin}, since ${startedAt})`;
}
