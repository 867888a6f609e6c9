import { rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DirectoryLock, fault, isFault, isMissing, nodeDisk, reserveBytes } from '../base/index.ts';
import type { ReadableFile } from '../base/index.ts';
import { copyOf, type Count, hashOf, isLinked, isSame, withFile } from './copy.ts';
import { findManifest, isId, type Kept, type Manifest, manifestName } from './manifest.ts';
import { writeManifest } from './manifest.ts';
import { entriesOf, overlap } from './paths.ts';

const lockName = 'backup.lock';
const unfinishedManifest = new RegExp(`^${manifestName}\\.\\d+\\.tmp$`);
/** Folders of files that several backups have together. */
const sharedNames: readonly string[] = ['lake', 'raw'];

/** A file that is to be in a backup. */
export type Source = {
  /** Below the data directory. */
  readonly path: string;
  readonly bytes: number;
  readonly from: string | ReadableFile;
  /**
   *  - `lake`: never changes, and its name is never used again
   *  - `raw`: never changes; it may be gone when its turn comes, and its name used again
   *  - `sealed`: never changes, and is of one backup
   *  - `passing`: its first bytes are what they must be now
   */
  readonly kind: 'lake' | 'raw' | 'sealed' | 'passing';
  /** Checksums of its pieces, if they are known. */
  readonly crcs?: readonly number[];
};

/** What is to be done for a file. */
export type Job = Source & {
  /** Where it goes, below the backup, if it must. */
  readonly to: string;
  /** What the former backup has of it, if that will do. */
  readonly kept: Kept | undefined;
};

/** The folder of a backup, held by who makes one. */
export class Folder {
  readonly directory: string;
  readonly #lock: DirectoryLock;
  readonly #former: ReadonlyMap<string, Kept>;
  readonly #made = new Set<string>();
  readonly #added: Kept[] = [];
  /** Whether the former manifest is the one on disk. */
  #isSure = true;

  private constructor(directory: string, lock: DirectoryLock, former: Manifest | undefined) {
    this.directory = directory;
    this.#lock = lock;
    this.#former = new Map(former?.files.map((file) => [file.path, file]));
  }

  /**
   * Makes the folder, if need be, and removes what an unfinished backup has left.
   * @throws BACKUP_PLACE, BACKUP_BUSY, BACKUP_DAMAGED
   */
  static async open(directory: string, dataDirectory: string): Promise<Folder> {
    if (await overlap(directory, dataDirectory)) {
      const seen = `${directory} and the data directory ${dataDirectory} lie in each other`;
      throw fault('BACKUP_PLACE', { seen });
    }
    await nodeDisk.makeDirectory(directory);
    const names = (await nodeDisk.list(directory)).filter((name) => name !== 'lost+found');
    // Whatever is in it without a manifest that names it will be removed.
    const isOurs = names.some((name) => name === lockName || name === manifestName);
    if (names.length > 0 && !isOurs) {
      throw fault('BACKUP_PLACE', { seen: `${directory} holds something else: ${names[0]}` });
    }
    const lock = await takeLock(directory);
    try {
      const former = await findManifest(directory);
      const folder = new Folder(directory, lock, former);
      // Who wrote the manifest may have been killed before its name was on disk.
      await nodeDisk.syncDirectory(directory);
      await folder.#sweep(former);
      return folder;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** What is to be done. @param id names what is not shared with other backups. */
  async plan(id: string, sources: readonly Source[]): Promise<readonly Job[]> {
    const jobs: Job[] = [];
    for (const source of sources) {
      const { path, kind } = source;
      const isShared = kind === 'lake' || kind === 'raw';
      const to = isShared && !this.#former.has(path) ? path : `${id}/${path}`;
      jobs.push({ ...source, to, kept: isShared ? await this.#keptOf(source) : undefined });
    }
    return jobs;
  }

  /** What the former backup has of a file that never changes. */
  async #keptOf({ path, bytes, from, kind }: Source): Promise<Kept | undefined> {
    const former = this.#former.get(path);
    const place = join(this.directory, path);
    const found = await stat(place).catch(() => undefined);
    if (former?.bytes !== bytes || found?.size !== bytes) return undefined;
    const isSure = kind === 'lake' || (typeof from === 'string' && (await isSame(from, place)));
    return isSure ? former : undefined;
  }

  /** The disk of the data must keep its reserve. @throws BACKUP_FAILED */
  async mustHaveRoom(jobs: readonly Job[], dataDirectory: string): Promise<void> {
    const [here, there] = await Promise.all([stat(this.directory), stat(dataDirectory)]);
    const isOneDisk = here.dev === there.dev;
    const needed = jobs
      .filter(({ kind, kept }) => !kept && !(isOneDisk && kind !== 'passing'))
      .reduce((sum, { bytes }) => sum + bytes, 0);
    const { freeBytes, diskBytes } = await nodeDisk.room(this.directory);
    const free = isOneDisk ? freeBytes - reserveBytes(diskBytes) : freeBytes;
    if (needed <= free) return;
    const seen = `${needed} bytes are needed, ${Math.max(0, free)} are free in ${this.directory}`;
    throw fault('BACKUP_FAILED', { seen });
  }

  /**
   * Does it; not synced.
   * @param verify whether what is kept is read, and made anew if it is damaged
   * @returns undefined for a file that is gone and may be
   */
  async put(job: Job, verify: boolean, count: Count): Promise<Kept | undefined> {
    const { from, to, kept, ...source } = job;
    if (kept && (!verify || (await this.#isWhole(kept, count)))) return kept;
    const place = join(this.directory, to);
    await this.#makeFolderOf(place);
    try {
      const sha256 = await this.#take(from, place, source, count);
      // It never changes: another file by now is a damaged one.
      if (kept && sha256 !== kept.sha256) {
        throw fault('BACKUP_FAILED', { seen: `${source.path} is damaged in the data itself` });
      }
      const file = { path: to, bytes: source.bytes, sha256 };
      this.#added.push(file);
      return file;
    } catch (error) {
      if (!isMissing(error)) throw error;
      if (source.kind === 'raw') return undefined;
      throw fault('BACKUP_FAILED', { seen: `the data lack ${source.path}` }, error);
    }
  }

  async #isWhole({ path, bytes, sha256 }: Kept, count: Count): Promise<boolean> {
    return (await hashOf(join(this.directory, path), bytes, count)) === sha256;
  }

  async #take(
    from: string | ReadableFile,
    place: string,
    { path, bytes, kind, crcs = [] }: Pick<Source, 'path' | 'bytes' | 'kind' | 'crcs'>,
    count: Count,
  ): Promise<string> {
    const known = { path, crcs };
    if (typeof from !== 'string') return copyOf(from, bytes, place, count);
    if (kind !== 'passing' && (await isLinked(from, place))) {
      const sha256 = await hashOf(place, bytes, count, known);
      if (sha256 !== undefined) return sha256;
    } else {
      const sha256 = await withFile(from, async (file) => {
        if (kind !== 'passing' && (await file.size()) !== bytes) return undefined;
        return copyOf(file, bytes, place, count, known);
      });
      if (sha256 !== undefined) return sha256;
    }
    throw fault('BACKUP_FAILED', { seen: `${path} has not its ${bytes} bytes` });
  }

  async #makeFolderOf(place: string): Promise<void> {
    const folder = dirname(place);
    if (this.#made.has(folder)) return;
    await nodeDisk.makeDirectory(folder);
    this.#made.add(folder);
  }

  /** Makes the manifest the one of the folder, and removes what only the former one named. */
  async finish(manifest: Manifest): Promise<void> {
    for (const { path } of this.#added) await nodeDisk.syncFile(join(this.directory, path));
    for (const folder of this.#made) await nodeDisk.syncDirectory(folder);
    this.#isSure = false;
    await writeManifest(this.directory, manifest);
    // What cannot be removed now goes with the next backup.
    await this.#sweep(manifest).catch(() => undefined);
  }

  /** Files that were added, and their bytes. */
  get added(): readonly Kept[] {
    return this.#added;
  }

  /** Removes what the manifest on disk does not name, if it is sure which one that is. */
  async giveUp(): Promise<void> {
    if (!this.#isSure) return;
    const manifest = await findManifest(this.directory);
    await this.#sweep(manifest);
  }

  close(): void {
    this.#lock.release();
  }

  async #sweep(manifest: Manifest | undefined): Promise<void> {
    const named = new Set(manifest?.files.map(({ path }) => path));
    for (const entry of await entriesOf(this.directory)) {
      const { name } = entry;
      if (unfinishedManifest.test(name)) await nodeDisk.remove(join(this.directory, name));
      const isOurs = sharedNames.includes(name) || isId(name);
      if (isOurs && entry.isDirectory()) await this.#sweepBelow(name, named);
    }
  }

  async #sweepBelow(below: string, named: ReadonlySet<string>): Promise<void> {
    for (const entry of await entriesOf(join(this.directory, below))) {
      const path = `${below}/${entry.name}`;
      if (entry.isDirectory()) await this.#sweepBelow(path, named);
      else if (!named.has(path)) await nodeDisk.remove(join(this.directory, path));
    }
    await rmdir(join(this.directory, below)).catch(() => undefined);
  }
}

/** @throws BACKUP_BUSY */
async function takeLock(directory: string): Promise<DirectoryLock> {
  try {
    return await DirectoryLock.take(join(directory, lockName), () => 'another backup');
  } catch (error) {
    if (isFault(error, 'LOCKED')) throw fault('BACKUP_BUSY', { seen: directory }, error);
    throw error;
  }
}
