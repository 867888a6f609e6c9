import { constants } from 'node:fs';
import { copyFile, link, readdir, truncate } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { nodeDisk } from '../base/index.ts';
import { continueAt, LogInspector, mendHeader, segmentPath } from '../log/index.ts';
import { shardDirectory, shardsIn } from '../log/index.ts';
import {
  mendLogBeginning,
  mendTables,
  mendTornStore,
  moveCursor,
  rebuildStore,
  type Store,
  storeName,
} from '../store/index.ts';
import type { Finding, Fix } from './finding.ts';

/** The rooms over the data directory, with all of its log loaded. */
export type Loaded = {
  readonly store: Store;
  readonly alone: <T>(
    work: (between: <U>(work: () => Promise<U>) => Promise<U>) => Promise<T>,
  ) => Promise<T>;
};
export type Load = <T>(use: (rooms: Loaded) => Promise<T>) => Promise<T>;

const walName = `${storeName}.wal`;

/** Mends what can be mended; whatever it changes or removes is put into a folder before. */
export class Repair {
  readonly #data: string;
  /** Where it puts things. */
  readonly kept: string;
  readonly #load: Load;

  constructor(data: string, kept: string, load: Load) {
    this.#data = data;
    this.kept = kept;
    this.#load = load;
  }

  /** @returns what was done, in sentences; none if nothing could be */
  async run(findings: readonly Finding[]): Promise<readonly string[]> {
    await nodeDisk.makeDirectory(this.kept);
    const fixes = findings.flatMap(({ fix }) => fix ?? []);
    const done: string[] = [];
    const first = fixes.find(({ kind }) =>
      ['torn', 'rebuild', 'wal', 'walBeginning'].includes(kind),
    );
    // What the store does not say cannot be compared with anything yet.
    for (const fix of first ? [first] : fixes.filter((one) => !needsRooms(one))) {
      done.push(...(await this.#fixClosed(fix)));
    }
    if (first?.kind === 'rebuild') done.push(...(await this.#loadAgain()));
    const others = first ? [] : fixes.filter(needsRooms);
    if (others.length > 0) done.push(...(await this.#fixOpen(others)));
    return done;
  }

  async #fixClosed(fix: Fix): Promise<readonly string[]> {
    switch (fix.kind) {
      case 'torn':
        await this.#copyStore();
        await mendTornStore(this.#data);
        return ['what was torn in the store is taken back'];
      case 'wal':
        await this.#copy(join('store', walName));
        await truncate(join(this.#data, 'store', walName), fix.at);
        await nodeDisk.syncFile(join(this.#data, 'store', walName));
        return [`store/${walName} is cut off at ${fix.at}`];
      case 'walBeginning':
        await this.#copy(join('store', walName));
        await mendLogBeginning(join(this.#data, 'store', walName));
        return [`store/${walName} has its first bytes again`];
      case 'rebuild':
        return this.#rebuild();
      case 'tables': {
        await this.#copyStore();
        const mended = await mendTables(this.#data, fix.names);
        return mended.map(({ name, kept, lost }) => `${name}: ${kept} rows kept, ${lost} lost`);
      }
      case 'cursor':
        await this.#copyStore();
        await moveCursor(this.#data, fix.shard, fix.next);
        return [`shard ${fix.shard} is loaded from ${fix.next} on`];
      case 'header': {
        const { shard, base, previousEnd } = fix;
        const directory = shardDirectory(this.#data, shard);
        const path = relative(this.#data, segmentPath(directory, base));
        await this.#keepSegment(shard, base);
        const isDone = await mendHeader(nodeDisk, directory, base, previousEnd);
        return isDone ? [`${path}: the header is written anew`] : [];
      }
      case 'continue': {
        const { shard, base, previousEnd } = fix;
        await continueAt(nodeDisk, shardDirectory(this.#data, shard), base, previousEnd);
        return [`shard ${shard} goes on at ${base}`];
      }
      case 'skip':
      case 'file':
        return [];
    }
  }

  /** A new store, and nothing of the old one in its way. */
  async #rebuild(): Promise<readonly string[]> {
    for (const name of await namesIn(join(this.#data, 'store'))) {
      if (name.startsWith(storeName)) await this.#move(join('store', name));
    }
    const cursors = new Map<number, number>();
    for (const shard of await shardsIn(nodeDisk, this.#data, 0)) {
      const { bases } = await LogInspector.open(nodeDisk, shardDirectory(this.#data, shard));
      if (bases[0] !== undefined) cursors.set(shard, bases[0]);
    }
    const { tables, files, rows, left } = await rebuildStore(this.#data, cursors);
    for (const { path } of left) await this.#move(join('lake', path));
    return [
      `a new store names ${tables} tables with ${rows} rows in ${files} files`,
      ...left.map(({ path, why }) => `lake/${path} is not part of it: ${why}`),
    ];
  }

  /** What is in files and in the log is there twice until it is compared by receipt. */
  async #loadAgain(): Promise<readonly string[]> {
    const repeats = await this.#load(({ store, alone }) =>
      alone(store.lake.dropRepeats.bind(store.lake)),
    );
    return [
      `the log is loaded; ${repeats} of its events were in files already, by their receipts`,
      'not there any more: rows that were neither in files nor in the log, what was in ' +
        'quarantine, retention, ids of events before the log begins',
      'what was dropped or erased while the log still had it is there again',
    ];
  }

  async #fixOpen(fixes: readonly Fix[]): Promise<readonly string[]> {
    for (const fix of fixes) {
      if (fix.kind === 'skip') await this.#keepSegment(fix.shard, fix.base);
      if (fix.kind === 'file') await this.#keepFile(join('lake', fix.path));
    }
    return this.#load(async ({ store, alone }) => {
      const done: string[] = [];
      for (const fix of fixes) {
        if (fix.kind === 'skip') {
          const { from, to } = fix.gap;
          done.push(`shard ${fix.shard}: ${to - from} bytes from ${from} on are skipped, and kept`);
        }
        if (fix.kind !== 'file') continue;
        const { path, damage } = fix;
        const { kept, lost } = await alone((between) => store.lake.salvage(path, damage, between));
        done.push(`lake/${path}: ${kept} rows kept in a new file, ${lost} lost`);
      }
      return done;
    });
  }

  async #keepSegment(shard: number, base: number): Promise<void> {
    const path = segmentPath(shardDirectory(this.#data, shard), base);
    await this.#copy(relative(this.#data, path));
  }

  /** What is there of it. */
  async #keepFile(path: string): Promise<void> {
    const to = await this.#placeFor(path);
    await link(join(this.#data, path), to).catch(() => this.#copy(path).catch(() => undefined));
  }

  async #copyStore(): Promise<void> {
    for (const name of await namesIn(join(this.#data, 'store'))) {
      if (name.startsWith(storeName)) await this.#copy(join('store', name));
    }
  }

  /** Durably; once. */
  async #copy(path: string): Promise<void> {
    const to = await this.#placeFor(path);
    if ((await namesIn(dirname(to))).includes(basename(to))) return;
    await copyFile(join(this.#data, path), to, constants.COPYFILE_FICLONE);
    await nodeDisk.syncFile(to);
    await nodeDisk.syncDirectory(dirname(to));
  }

  async #move(path: string): Promise<void> {
    const to = await this.#placeFor(path);
    await nodeDisk.rename(join(this.#data, path), to);
    await nodeDisk.syncDirectory(dirname(to));
    await nodeDisk.syncDirectory(dirname(join(this.#data, path)));
  }

  async #placeFor(path: string): Promise<string> {
    const to = join(this.kept, path);
    await nodeDisk.makeDirectory(dirname(to));
    return to;
  }
}

function needsRooms({ kind }: Fix): boolean {
  return kind === 'skip' || kind === 'file';
}

async function namesIn(directory: string): Promise<readonly string[]> {
  return readdir(directory).catch(() => []);
}
