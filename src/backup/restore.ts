import { rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fault, nodeDisk, randomIds, type Task } from '../base/index.ts';
import { copyOf, Count, hashOf, withFile } from './copy.ts';
import { bytesOf, type Kept, type Manifest, placeOf, readManifest } from './manifest.ts';
import { entriesOf, overlap } from './paths.ts';

/** A backup that is whole. */
export type VerifyReport = Pick<Manifest, 'id' | 'createdAt' | 'tables' | 'quarantined'> & {
  readonly directory: string;
  readonly files: number;
  readonly bytes: number;
};

export type RestoreReport = VerifyReport & { readonly data: string };

const namedMax = 10;

/** Reads all of a backup. @throws NO_BACKUP, BACKUP_DAMAGED with the names of what is damaged */
export async function verify(directory: string, task: Task): Promise<VerifyReport> {
  const manifest = await readManifest(directory);
  const count = new Count(task);
  count.expect(bytesOf(manifest));
  await mustBeWhole(directory, manifest, count);
  return reportOf(directory, manifest);
}

/**
 * Makes a data directory of a backup that is whole. It gets its name when all of it is on disk.
 * @param data is not there yet, or empty
 * @throws NO_BACKUP, BACKUP_DAMAGED, RESTORE_PLACE, what the disk throws: nothing is left behind
 */
export async function restore(directory: string, data: string, task: Task): Promise<RestoreReport> {
  const manifest = await readManifest(directory);
  await mustBeFree(directory, data);
  const count = new Count(task);
  count.expect(2 * bytesOf(manifest));
  await mustBeWhole(directory, manifest, count);
  const unfinished = `${resolve(data)}.restoring-${randomIds.bytes(4).toString('hex')}`;
  try {
    await fill(unfinished, directory, manifest, count);
    await nodeDisk.rename(unfinished, data);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
  await nodeDisk.syncDirectory(dirname(resolve(data)));
  return { ...reportOf(directory, manifest), data };
}

/** Copies, never links: the backup must not share its fate with a directory that is in use. */
async function fill(
  target: string,
  directory: string,
  manifest: Manifest,
  count: Count,
): Promise<void> {
  // Commands tell a data directory by it.
  await nodeDisk.makeDirectory(join(target, 'log'));
  const folders = new Set<string>();
  for (const file of manifest.files) {
    const to = join(target, placeOf(manifest, file));
    if (!folders.has(dirname(to))) await nodeDisk.makeDirectory(dirname(to));
    folders.add(dirname(to));
    const sha256 = await withFile(join(directory, file.path), (from) => {
      return copyOf(from, file.bytes, to, count);
    });
    if (sha256 !== file.sha256) throw damaged([file.path]);
    await nodeDisk.syncFile(to);
  }
  for (const folder of folders) await nodeDisk.syncDirectory(folder);
}

async function mustBeFree(directory: string, data: string): Promise<void> {
  const refuse = (seen: string) => {
    throw fault('RESTORE_PLACE', { seen });
  };
  if (await overlap(directory, data)) refuse(`${data} and the backup lie in each other`);
  const found = await stat(data).catch(() => undefined);
  if (!found) return;
  const isEmpty = found.isDirectory() && (await entriesOf(data)).length === 0;
  if (!isEmpty) refuse(`${data} is there and is not an empty folder`);
  const parent = await stat(dirname(resolve(data)));
  if (parent.dev !== found.dev) refuse(`${data} is a disk of its own: name a folder in it`);
}

async function mustBeWhole(directory: string, manifest: Manifest, count: Count): Promise<void> {
  const found: string[] = [];
  for (const file of manifest.files) {
    if (!(await isWhole(directory, file, count))) found.push(file.path);
  }
  if (found.length > 0) throw damaged(found);
}

async function isWhole(
  directory: string,
  { path, bytes, sha256 }: Kept,
  count: Count,
): Promise<boolean> {
  try {
    return (await hashOf(join(directory, path), bytes, count)) === sha256;
  } catch (error) {
    // What cannot be read is damaged; that nobody waits any more is no damage.
    if (typeof (error as NodeJS.ErrnoException).code !== 'string') throw error;
    return false;
  }
}

function damaged(paths: readonly string[]): Error {
  const named = paths.slice(0, namedMax).join(', ');
  const more = paths.length > namedMax ? ` and ${paths.length - namedMax} more` : '';
  return fault('BACKUP_DAMAGED', { seen: `${named}${more}: not what was written` });
}

function reportOf(directory: string, manifest: Manifest): VerifyReport {
  const { id, createdAt, tables, quarantined, files } = manifest;
  const sizes = { files: files.length, bytes: bytesOf(manifest) };
  return { directory, id, createdAt, tables, quarantined, ...sizes };
}
