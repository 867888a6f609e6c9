import { execFile } from 'node:child_process';
import { copyFile, link, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual, promisify } from 'node:util';
import { shardDirectory } from '../src/log/index.ts';
import type { Archived } from './archive-table.ts';
import type { Loaded, Times } from './load-log.ts';
import type { PreparedLog } from './misfit-log.ts';

/**
 * Has a process of its own load a copy of a log.
 * @param data a folder for the copy and the store.
 * @throws when an event is not where it must be
 */
export async function loadLog(log: PreparedLog, data: string): Promise<Times> {
  const [from, to] = [shardDirectory(log.data, 0), shardDirectory(data, 0)];
  await mkdir(to, { recursive: true });
  await copyFile(join(log.data, 'keys.json'), join(data, 'keys.json'));
  // Segments are read and removed, never changed.
  const segments = (await readdir(from)).filter((file) => file.endsWith('.seg'));
  for (const segment of segments) await link(join(from, segment), join(to, segment));
  const { elapsedMs, cpuMs, ...found } = await run<Loaded>('load-log.ts', data);
  if (!isDeepStrictEqual(found, log.expected)) {
    const seen = `found ${JSON.stringify(found)}, expected ${JSON.stringify(log.expected)}`;
    throw new Error(`${log.name}: events are missing or too many: ${seen}`);
  }
  return { elapsedMs, cpuMs };
}

/**
 * Has a process of its own move what it has loaded into files.
 * @throws when an event is not in exactly one row
 */
export async function archiveTable(data: string, events: number): Promise<Archived> {
  const archived = await run<Archived>('archive-table.ts', data);
  const { moved, rows, ids, inFiles } = archived;
  if ([moved, rows, ids, inFiles].some((count) => count !== events)) {
    const seen = JSON.stringify({ moved, rows, ids, inFiles });
    throw new Error(`rows are missing or too many: found ${seen}, expected ${events} each`);
  }
  return archived;
}

async function run<Printed>(script: string, data: string): Promise<Printed> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [path, data]);
  return JSON.parse(stdout) as Printed;
}
