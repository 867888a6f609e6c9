import { assert, fault, isFault, limits, type Stretch, systemClock } from '../base/index.ts';
import type { DuckBooks, Gone } from './books.ts';
import { tableKey } from './catalog.ts';
import { choreOf } from './chores.ts';
import type { DuckWriter } from './duckdb.ts';
import { filesSql } from './lake-catalog.ts';
import { LakeFiles, type Part, sweep } from './lake-files.ts';
import { gather, removeFresh } from './fresh.ts';
import { HotTables } from './hot.ts';
import type { Between, Chore, Lake, LakeFile, LakeSize, Retention } from './lake-types.ts';
import { wholeParts } from './salvage.ts';
import type { TableSchema } from './types.ts';
import { filePath, quoted, type Relations, type StoredTable } from './views.ts';

/** Where rows of rare days are; tools take its name for "no day". */
export const noDay = '__HIVE_DEFAULT_PARTITION__';

const daySeconds = 86_400;
type Parts = {
  readonly directory: string;
  readonly tables: Map<string, StoredTable>;
  readonly relations: Relations;
  readonly writer: DuckWriter;
  /** For what takes long. */
  readonly archiver: DuckWriter;
  /** Runs work on an engine with memory of its own, which sees nothing but files. */
  readonly apart: <T>(work: (engine: DuckWriter) => Promise<T>) => Promise<T>;
  readonly books: DuckBooks;
  readonly mustHaveRoom: (bytes: number) => Promise<void>;
  /** After a transaction. */
  readonly settle: () => Promise<void>;
};

/** The change of a table's files in one transaction. */
type Swap = {
  readonly remove?: readonly LakeFile[];
  readonly add?: readonly LakeFile[];
  /** What else belongs to it. @returns the table as it is then */
  readonly also?: (table: StoredTable) => Promise<StoredTable>;
};

/** The rows that take the place of a file's; without rows, none does. */
export type Rewritten = Omit<Part, 'day'>;

/** A change of a table whose files were written before. */
export type Replacement = Omit<Rewrite, 'files' | 'partOf'> & {
  readonly remove: readonly LakeFile[];
  readonly add: readonly LakeFile[];
};

/** A change of a table. */
export type Rewrite = {
  readonly files: readonly LakeFile[];
  /** What takes the place of a file; undefined if it can stay. */
  readonly partOf?: (table: StoredTable, file: LakeFile) => Promise<Rewritten | undefined>;
  /** As part of the transaction: changes the hot table. @returns the table as it is then */
  readonly hot?: ((table: StoredTable) => Promise<StoredTable>) | undefined;
  /** How the ledger calls rows that are gone. */
  readonly as?: Gone | undefined;
  /** As part of the transaction, if rows are gone. */
  readonly note?: ((removed: number) => Promise<void>) | undefined;
};

/** The files of all tables: see docs/lake.md. */
export class DuckLake implements Lake {
  readonly directory: string;
  readonly missing: readonly string[];
  readonly setAside: number;
  readonly #parts: Parts;
  readonly #files: LakeFiles;
  #hot = new HotTables();
  readonly #expiredAtMs = new Map<number, number>();
  #retentions: readonly Retention[] = [];

  private constructor(parts: Parts, { missing, setAside }: Awaited<ReturnType<typeof sweep>>) {
    this.#parts = parts;
    this.directory = parts.directory;
    this.#files = new LakeFiles(parts.directory, parts.archiver);
    this.missing = missing;
    this.setAside = setAside;
  }

  /** Removes what a crash has left, and looks at what is there. */
  static async open(parts: Parts): Promise<DuckLake> {
    const { directory, tables } = parts;
    const known = [...tables.values()].flatMap((table) => {
      return table.files.map((file) => filePath(table, file));
    });
    const swept = await sweep(directory, new Set(known), systemClock.nowMs());
    const lake = new DuckLake(parts, swept);
    await lake.#readState();
    return lake;
  }

  get retentions(): readonly Retention[] {
    return this.#retentions;
  }

  /** After a commit of rows, `fresh` of them in `mr.fresh`. */
  grew(id: number, rows: number, fresh: number, bytes: number): void {
    this.#hot.grew(id, rows, fresh, bytes);
  }

  due(
    nowMs: number,
    archiveAgeMs: number,
    mayBe: (table: TableSchema) => boolean = () => true,
  ): Chore | undefined {
    this.#hot.lookedAt(nowMs);
    const tables = [...this.#parts.tables.values()].filter(mayBe);
    const [retentions, expiredAtMs, hot] = [this.#retentions, this.#expiredAtMs, this.#hot.all];
    const state = { tables, hot, retentions, expiredAtMs };
    const chore = choreOf({ ...state, nowMs, archiveAgeMs });
    if (chore?.kind === 'expire') {
      this.#expiredAtMs.set(this.#stored(chore.database, chore.table).id, nowMs);
    }
    return chore;
  }

  get isFull(): boolean {
    return this.#hot.isFull;
  }

  async weigh(): Promise<void> {
    const least = limits.hotRowGroupBytesMax / limits.bodyBytesMax;
    for (const table of this.#parts.tables.values()) {
      const { rows: all, fresh } = this.#hot.of(table.id);
      const rows = all - fresh;
      if (rows <= least) continue;
      // The last ones are those that are not yet where they stay.
      const before = Math.max(0, rows - limits.rowGroupRows);
      const source = `FROM mr.hot_${table.id} OFFSET ${before}`;
      const { plainBytes } = await this.#files.weigh(table, source, rows - before);
      this.#hot.weighed(table.id, (plainBytes / (rows - before)) * rows);
    }
  }

  get size(): LakeSize {
    const tables = [...this.#parts.tables.values()];
    const files = tables.flatMap((table) => table.files);
    const sealed = tables.reduce((sum, table) => sum + (table.sealed?.rows ?? 0), 0);
    return { hotRows: sealed + this.#hot.rows, files: files.length, bytes: bytesOf(files) };
  }

  get files(): Lake['files'] {
    return [...this.#parts.tables.values()].flatMap((table) => {
      return table.files.map((file) => ({ ...file, path: filePath(table, file) }));
    });
  }

  async archive(database: string, table: string, between: Between): Promise<number> {
    // What an earlier turn has sealed comes first.
    const before = await this.#archiveSealed(database, table, between);
    const { id } = this.#stored(database, table);
    if (this.#hot.of(id).rows === 0) return before;
    await between(() => this.#seal(database, table));
    return before + (await this.#archiveSealed(database, table, between));
  }

  /** Between two loads, before hot rows are changed: all of them are in the table's own. */
  async gather(table: StoredTable): Promise<void> {
    const { writer, relations } = this.#parts;
    if (this.#hot.of(table.id).fresh === 0) return;
    await writer.transact(() => gather(writer, relations, table));
    this.#hot.gathered(table.id);
  }

  /** The hot table is renamed, and a new one takes its place. */
  async #seal(database: string, name: string): Promise<void> {
    const { writer } = this.#parts;
    const table = this.#stored(database, name);
    assert(!table.sealed, 'one generation at a time');
    await this.gather(table);
    await this.#swap(table, {
      also: async (before) => {
        const hot = `mr.hot_${before.id}`;
        const rows = await this.#countHot(before.id);
        await writer.run(`ALTER TABLE ${hot} RENAME TO sealed_${before.id}`);
        await writer.run(`CREATE TABLE ${hot} AS FROM mr.sealed_${before.id} LIMIT 0`);
        return { ...before, sealed: { columns: before.columns, rows } };
      },
    });
    this.#hot.left(table.id, 0);
  }

  async #archiveSealed(database: string, name: string, between: Between): Promise<number> {
    const { writer, mustHaveRoom } = this.#parts;
    const table = this.#stored(database, name);
    if (!table.sealed) return 0;
    const { rows } = table.sealed;
    await mustHaveRoom(0);
    const files = await this.write(table, this.#parts.relations.sealed(table));
    assert(rows === sumOf(files), 'every sealed row is in a file');
    await between(() =>
      this.#swap(this.#stored(database, name), {
        add: files,
        also: async (before) => {
          await writer.run(`DROP TABLE mr.sealed_${before.id}`);
          return { ...before, sealed: undefined };
        },
      }),
    );
    return rows;
  }

  /** Writes rows of the archiver's connection to files by day, which nobody names yet. */
  async write(table: TableSchema, source: string): Promise<readonly LakeFile[]> {
    return this.#files.write(table, await this.#daysOf(source));
  }

  /** Removes files that nobody names. */
  discard(table: TableSchema, files: readonly LakeFile[]): Promise<void> {
    return this.#files.discard(table, files);
  }

  /** Before a file is read to be written anew. @throws DATA_DAMAGED */
  mustBeWhole(table: TableSchema, files: readonly LakeFile[]): Promise<void> {
    return this.#files.mustBeWhole(table, files);
  }

  async #daysOf(source: string): Promise<readonly Part[]> {
    const found = await this.#parts.archiver.all(`
      SELECT time // ${daySeconds} AS day, count(*) AS n FROM (${source})
      GROUP BY day ORDER BY n DESC, day`);
    const days = found.map(({ day, n }) => ({ day: Number(day), rows: Number(n) }));
    const isMany = days.length > limits.archiveDaysMax;
    const alone = isMany ? days.slice(0, limits.archiveDaysMax - 1) : days;
    const parts = alone.map(({ day, rows }) => {
      const [from, to] = [day * daySeconds, (day + 1) * daySeconds];
      const inside = `FROM (${source}) WHERE time >= ${from} AND time < ${to}`;
      return { source: inside, day: dayOf(day), rows };
    });
    if (!isMany) return parts;
    const named = alone.map(({ day }) => day).join(', ');
    const rest = `FROM (${source}) WHERE time // ${daySeconds} NOT IN (${named})`;
    const rows = days.slice(alone.length).reduce((sum, day) => sum + day.rows, 0);
    return [...parts, { source: rest, day: noDay, rows }];
  }

  async compact(
    database: string,
    name: string,
    files: readonly LakeFile[],
    between: Between,
  ): Promise<void> {
    const table = this.#stored(database, name);
    const [first] = files;
    assert(first && files.every(({ day }) => day === first.day), 'files of one day');
    await this.#parts.mustHaveRoom(bytesOf(files));
    await this.mustBeWhole(table, files);
    const source = this.#parts.relations.files(table, files);
    const part = { source, day: first.day, rows: sumOf(files) };
    const merged = await this.#parts.apart((engine) => this.#files.write(table, [part], engine));
    await between(() => this.#swap(this.#stored(database, name), { remove: files, add: merged }));
  }

  async expire(database: string, name: string, before: number, between: Between): Promise<number> {
    await this.#archiveSealed(database, name, between);
    const { files } = this.#stored(database, name);
    const old = files.filter(({ timeMax }) => timeMax < before);
    // The rest of a day goes with its last row; what reaches over many days is written anew.
    const across = files.filter(({ timeMin, timeMax }) => {
      return timeMin < before && timeMax >= before && timeMax - timeMin >= daySeconds;
    });
    const { removed } = await this.rewrite(database, name, between, {
      files: [...old, ...across],
      partOf: async (table, file) => {
        if (file.timeMax < before) return { source: '', rows: 0 };
        return this.without(table, file, `time < ${before}`);
      },
      hot: (table) => this.#removeHot(table, `time < ${before}`),
      as: 'expired',
    });
    return removed;
  }

  /** A file's rows but those of which a condition holds. */
  async without(table: StoredTable, file: LakeFile, condition: string): Promise<Rewritten> {
    const source = `FROM (${this.#parts.relations.files(table, [file])})
      WHERE (${condition}) IS NOT TRUE`;
    const [left] = await this.#parts.archiver.all(`SELECT count(*) AS n ${source}`);
    return { source, rows: Number(left?.n) };
  }

  /** As part of the open transaction. */
  async #removeHot(table: StoredTable, condition: string): Promise<StoredTable> {
    await this.#parts.writer.run(`DELETE FROM mr.hot_${table.id} WHERE ${condition}`);
    return table;
  }

  /**
   * Writes files of a table anew, and changes its hot rows with them in one transaction.
   * @returns how many rows are gone
   */
  async rewrite(
    database: string,
    name: string,
    between: Between,
    { files, partOf, hot, as = 'dropped', note }: Rewrite,
  ): Promise<{ readonly removed: number }> {
    await this.#archiveSealed(database, name, between);
    const table = this.#stored(database, name);
    const [remove, add]: [LakeFile[], LakeFile[]] = [[], []];
    try {
      for (const file of files) {
        const part = await partOf?.(table, file);
        if (!part) continue;
        if (part.source !== '') await this.mustBeWhole(table, [file]);
        await this.#parts.mustHaveRoom(part.rows === 0 ? 0 : file.bytes);
        add.push(...(await this.#files.write(table, [{ ...part, day: file.day }])));
        remove.push(file);
      }
    } catch (error) {
      await this.#files.discard(table, add);
      throw error;
    }
    if (remove.length === 0 && !hot) return { removed: 0 };
    return between(() => this.replace(database, name, { remove, add, hot, as, note }));
  }

  /**
   * Files that were written take the place of others, and hot rows change with them, in one
   * transaction. Between two loads. @returns how many rows are gone
   */
  async replace(
    database: string,
    name: string,
    { remove, add, hot, as = 'dropped', note }: Replacement,
  ): Promise<{ readonly removed: number }> {
    const table = this.#stored(database, name);
    const { id } = table;
    await this.gather(table);
    const before = await this.#countHot(id);
    let [removed, left] = [0, before];
    await this.#swap(table, {
      remove,
      add,
      also: async (now) => {
        const after = hot ? await hot(now) : now;
        left = await this.#countHot(id);
        removed = sumOf(remove) - sumOf(add) + before - left;
        assert(removed >= 0, 'no row comes from nowhere');
        if (removed > 0) await this.#parts.books.remove(database, name, removed, as);
        if (removed > 0) await note?.(removed);
        return after;
      },
    });
    this.#hot.left(id, left);
    return { removed };
  }

  async #countHot(id: number): Promise<number> {
    const [found] = await this.#parts.writer.all(`SELECT count(*) AS n FROM mr.hot_${id}`);
    return Number(found?.n);
  }

  async salvage(
    path: string,
    damage: readonly Stretch[],
    between: Between,
  ): Promise<{ readonly kept: number; readonly lost: number }> {
    const [table, file] = this.#named(path);
    const parts = await wholeParts(this.#parts.archiver, this.directory, table, file, damage);
    const add = await this.#files.write(table, parts);
    const { database, table: name } = table;
    const swap = () => this.replace(database, name, { remove: [file], add });
    const { removed } = await between(swap);
    return { kept: sumOf(add), lost: removed };
  }

  async dropRepeats(between: Between): Promise<number> {
    let repeats = 0;
    for (const table of this.#parts.tables.values()) {
      if (table.files.length === 0) continue;
      const inFiles = `SELECT _receipt FROM (${this.#parts.relations.files(table, table.files)})`;
      const hot = (now: StoredTable) => this.#removeHot(now, `_receipt IN (${inFiles})`);
      const change = { remove: [], add: [], hot, as: 'deduplicated' } as const;
      const replace = () => this.replace(table.database, table.table, change);
      repeats += (await between(replace)).removed;
    }
    return repeats;
  }

  /** The file at a path below the lake. */
  #named(path: string): readonly [StoredTable, LakeFile] {
    for (const table of this.#parts.tables.values()) {
      const file = table.files.find((one) => filePath(table, one) === path);
      if (file) return [table, file];
    }
    throw fault('NO_SUCH_TABLE', { seen: path });
  }

  async retain(database: string, table: string, seconds: number | undefined): Promise<void> {
    const { writer, settle } = this.#parts;
    const kept = this.#retentions.filter((one) => {
      return one.database !== database || one.table !== table;
    });
    await writer.transact(async () => {
      await writer.run(`DELETE FROM mr.retention
        WHERE "database" = ${quoted(database)} AND "table" = ${quoted(table)}`);
      if (seconds === undefined) return;
      await writer.run(`INSERT INTO mr.retention
        VALUES (${quoted(database)}, ${quoted(table)}, ${seconds})`);
    });
    this.#retentions = seconds === undefined ? kept : [...kept, { database, table, seconds }];
    await settle();
  }

  /** As part of the open transaction: the files of a table that is dropped. */
  async drop(table: StoredTable): Promise<void> {
    const { writer } = this.#parts;
    await writer.run(`DELETE FROM mr.files WHERE table_id = ${table.id}`);
    await removeFresh(writer, table);
    if (table.sealed) await writer.run(`DROP TABLE mr.sealed_${table.id}`);
  }

  /** After it. */
  async dropped(table: StoredTable): Promise<void> {
    this.#hot.left(table.id, 0);
    await this.#files.discard(table, table.files);
  }

  lease(): () => void {
    return this.#files.lease();
  }

  /** Reads with files that stay on disk meanwhile. */
  async reading<T>(work: () => Promise<T>): Promise<T> {
    const release = this.lease();
    return work().finally(release);
  }

  /** One transaction: the catalog names other files than before. */
  async #swap(table: StoredTable, { remove = [], add = [], also }: Swap): Promise<void> {
    const { writer, tables, relations, settle } = this.#parts;
    let after = table;
    try {
      await writer.transact(async () => {
        const names = new Set(remove.map(({ name }) => name));
        const files = [...table.files.filter(({ name }) => !names.has(name)), ...add];
        after = { ...table, files: files.sort(byTime) };
        if (also) after = await also(after);
        if (names.size > 0) {
          const gone = [...names].map((name) => `'${name}'`).join(', ');
          await writer.run(`DELETE FROM mr.files WHERE name IN (${gone})`);
        }
        if (add.length > 0) await writer.run(filesSql(table, add));
        await writer.run(relations.view(after));
      });
    } catch (error) {
      // Where nobody knows, they may be named.
      if (!isFault(error, 'STORE_INVALID')) await this.#files.discard(table, add);
      throw error;
    }
    tables.set(tableKey(table.database, table.table), after);
    await settle();
    await this.#files.discard(table, remove);
  }

  /** What is hot, and what is to be kept for how long. */
  async #readState(): Promise<void> {
    const { archiver } = this.#parts;
    this.#hot = await HotTables.read(archiver);
    this.#retentions = (await archiver.all('FROM mr.retention')).map((row) => ({
      database: row.database as string,
      table: row.table as string,
      seconds: Number(row.seconds),
    }));
  }

  /** @throws NO_SUCH_TABLE */
  #stored(database: string, table: string): StoredTable {
    const stored = this.#parts.tables.get(tableKey(database, table));
    if (!stored) throw fault('NO_SUCH_TABLE', { seen: tableKey(database, table) });
    return stored;
  }
}

function sumOf(files: readonly LakeFile[]): number {
  return files.reduce((sum, { rows }) => sum + rows, 0);
}

function bytesOf(files: readonly LakeFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

function byTime(a: LakeFile, b: LakeFile): number {
  return a.timeMin - b.timeMin || a.timeMax - b.timeMax || (a.name < b.name ? -1 : 1);
}

function dayOf(day: number): string {
  return new Date(day * daySeconds * 1000).toISOString().slice(0, 10);
}
