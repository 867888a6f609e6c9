import { join, relative } from 'node:path';
import { stat } from 'node:fs/promises';
import { fault, isMissing, messageOf, MillraceError, nodeDisk, randomIds } from '../base/index.ts';
import { type ReadableFile, systemClock, type Task } from '../base/index.ts';
import type { Loader } from '../loader/index.ts';
import { segmentsOf, shardDirectory } from '../log/index.ts';
import type { Still, Store } from '../store/index.ts';
import { Count } from './copy.ts';
import { Folder, type Job, type Source } from './folder.ts';
import { bytesOf, type Kept, type Manifest, newId } from './manifest.ts';
import { filesBelow } from './paths.ts';

/** Of what a backup is made: a running server, or a data directory that this process has open. */
export type BackupSource = {
  readonly dataDirectory: string;
  readonly store: Store;
  readonly loader: Loader;
  /** Makes the loader hear of all that was acknowledged before the call. */
  readonly hear: () => Promise<void>;
};

/** A backup that was made. */
export type BackupReport = Pick<Manifest, 'id' | 'createdAt' | 'tables' | 'quarantined'> & {
  readonly directory: string;
  readonly files: number;
  readonly bytes: number;
  /** What was not in the folder before. */
  readonly newFiles: number;
  readonly newBytes: number;
  /** How long loading was held up, ms. */
  readonly heldMs: number;
};

/** What there is at one moment. */
type Moment = Pick<Manifest, 'shards' | 'tables' | 'quarantined'> & {
  readonly still: Still;
  readonly lake: readonly Source[];
  readonly keys: readonly Source[];
};

const running = new WeakSet<Store>();

/**
 * Makes a backup, or brings the one in a folder up to now.
 * @param directory an absolute path. @param verify whether what is there already is checked again.
 * @throws BACKUP_PLACE, BACKUP_BUSY, BACKUP_DAMAGED, BACKUP_FAILED, LOG_DAMAGED, STORE_INVALID,
 * DATA_DAMAGED; the former backup is whole
 */
export async function backup(
  source: BackupSource,
  { directory, verify }: { readonly directory: string; readonly verify: boolean },
  task: Task,
): Promise<BackupReport> {
  const { store, dataDirectory } = source;
  if (running.has(store)) throw fault('BACKUP_BUSY', { seen: directory });
  running.add(store);
  let folder: Folder | undefined;
  try {
    folder = await Folder.open(directory, dataDirectory);
    return await new Backup(source, folder, verify, task).make();
  } catch (error) {
    await folder?.giveUp().catch(() => undefined);
    if (error instanceof MillraceError || task.signal.aborted) throw error;
    throw fault('BACKUP_FAILED', { seen: messageOf(error) }, error);
  } finally {
    folder?.close();
    running.delete(store);
  }
}

/** One backup on its way. */
class Backup {
  readonly #source: BackupSource;
  readonly #folder: Folder;
  readonly #verify: boolean;
  readonly #count: Count;
  readonly #createdAt = new Date(systemClock.nowMs()).toISOString();
  readonly #id = newId(this.#createdAt, randomIds.bytes(4));
  readonly #files: Kept[] = [];
  readonly #releases: (() => Promise<void> | void)[] = [];
  #heldMs = 0;

  constructor(source: BackupSource, folder: Folder, verify: boolean, task: Task) {
    this.#source = source;
    this.#folder = folder;
    this.#verify = verify;
    this.#count = new Count(task);
  }

  async make(): Promise<BackupReport> {
    const { loader, hear } = this.#source;
    this.#releases.push(loader.keepLog());
    try {
      await hear();
      const { lake, keys, still, ...facts } = await loader.exclusive(() => this.#takeMoment());
      const main = still.lasts ? storeOf(still) : [];
      const others = [...keys, ...(await this.#logOf(facts.shards)), ...lake];
      const jobs = await this.#plan([...main, ...others, ...(await this.#raw())]);
      await this.#put(jobs.slice(0, main.length));
      await still.end();
      await this.#put(jobs.slice(main.length));
      const { shards, tables, quarantined } = facts;
      const [id, createdAt, files] = [this.#id, this.#createdAt, this.#files];
      const manifest = { version: 1, id, createdAt, shards, tables, quarantined, files } as const;
      await this.#folder.finish(manifest);
      return this.#report(manifest);
    } finally {
      for (const release of this.#releases.toReversed()) await release();
    }
  }

  /** Looks at all that belongs together, while nothing is written. */
  async #takeMoment(): Promise<Moment> {
    const startedAt = performance.now();
    const moment = await this.#look();
    // What cannot be held still for longer is copied at once.
    if (!moment.still.lasts) await this.#put(await this.#plan(storeOf(moment.still)));
    this.#heldMs = performance.now() - startedAt;
    return moment;
  }

  async #look(): Promise<Moment> {
    const { store, loader, dataDirectory } = this.#source;
    this.#releases.push(store.lake.lease());
    const still = await store.still();
    this.#releases.push(still.end);
    const lakeName = relative(dataDirectory, store.lake.directory);
    return {
      still,
      shards: [...loader.positions()],
      tables: (await store.tables()).map(({ database, table, rows }) => ({
        database,
        table,
        rows,
      })),
      quarantined: await store.parked.count(),
      lake: store.lake.files.map(({ path, bytes, crcs }) => {
        const from = join(store.lake.directory, path);
        return { path: join(lakeName, path), bytes, from, kind: 'lake', crcs };
      }),
      keys: await this.#keys(),
    };
  }

  /** The keys in force at the moment: the file is replaced as a whole when they change. */
  async #keys(): Promise<readonly Source[]> {
    const path = 'keys.json';
    let from: ReadableFile;
    try {
      from = await nodeDisk.openRead(join(this.#source.dataDirectory, path));
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
    this.#releases.push(() => from.close());
    return [{ path, bytes: await from.size(), from, kind: 'passing' }];
  }

  /** From where the store's copy goes on, to what is on disk. */
  async #logOf(shards: Moment['shards']): Promise<readonly Source[]> {
    const { dataDirectory } = this.#source;
    const sources: Source[] = [];
    for (const { shard, cursor, durable } of shards) {
      const directory = shardDirectory(dataDirectory, shard);
      const segments = await segmentsOf(nodeDisk, directory, cursor, durable);
      for (const { path: from, bytes, isSealed } of segments) {
        const path = relative(dataDirectory, from);
        sources.push({ path, bytes, from, kind: isSealed ? 'sealed' : 'passing' });
      }
    }
    return sources;
  }

  /** What is kept besides: files that never change, and that may go. */
  async #raw(): Promise<readonly Source[]> {
    const { dataDirectory } = this.#source;
    const sources: Source[] = [];
    for (const path of await filesBelow(dataDirectory, 'raw')) {
      const from = join(dataDirectory, path);
      const found = await stat(from).catch(() => undefined);
      if (found) sources.push({ path, bytes: found.size, from, kind: 'raw' });
    }
    return sources;
  }

  async #plan(sources: readonly Source[]): Promise<readonly Job[]> {
    const jobs = await this.#folder.plan(this.#id, sources);
    await this.#folder.mustHaveRoom(jobs, this.#source.dataDirectory);
    const isDone = ({ kept }: Job) => kept !== undefined && !this.#verify;
    this.#count.expect(jobs.reduce((sum, job) => sum + (isDone(job) ? 0 : job.bytes), 0));
    return jobs;
  }

  async #put(jobs: readonly Job[]): Promise<void> {
    for (const job of jobs) {
      const file = await this.#folder.put(job, this.#verify, this.#count);
      if (file) this.#files.push(file);
    }
  }

  #report({ id, createdAt, tables, quarantined, files }: Manifest): BackupReport {
    const { directory, added } = this.#folder;
    return {
      directory,
      id,
      createdAt,
      tables,
      quarantined,
      files: files.length,
      bytes: bytesOf({ files }),
      newFiles: added.length,
      newBytes: bytesOf({ files: [...added] }),
      heldMs: Math.round(this.#heldMs),
    };
  }
}

function storeOf({ files }: Still): readonly Source[] {
  return files.map(({ name, file, bytes }) => {
    return { path: join('store', name), bytes, from: file, kind: 'passing' };
  });
}
