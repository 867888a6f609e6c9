import { readdir, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { assert, crcsAt, damageIn, damaged, fault, isMissing } from '../base/index.ts';
import { limits, messageOf, nodeDisk, randomIds } from '../base/index.ts';
import { vectorRows } from './chores.ts';
import type { DuckWriter, Plain } from './duckdb.ts';
import type { LakeFile } from './lake-types.ts';
import type { ColumnType, TableSchema } from './types.ts';
import { dayFolder, filePath, namesOf, quoted } from './views.ts';

const stagingName = '.staging';
const orphansName = '.orphans';
const ourName = /^[0-9a-f]{16}\.parquet$/;

/** Rows that become one file. */
export type Part = {
  /** A relation with the table's columns. */
  readonly source: string;
  readonly day: string;
  readonly rows: number;
};

/** The files on disk: written once, and removed when nobody reads them any more. */
export class LakeFiles {
  readonly directory: string;
  readonly #archiver: DuckWriter;
  readonly #leases = new Set<object>();
  /** Files that are to go, and who may still read them. */
  #leaving: { readonly paths: readonly string[]; readonly readers: Set<object> }[] = [];

  /** @param archiver a connection that does nothing else. */
  constructor(directory: string, archiver: DuckWriter) {
    this.directory = directory;
    this.#archiver = archiver;
  }

  /** From now on files stay on disk, also when they are discarded, until the lease is ended. */
  lease(): () => void {
    const reader = {};
    this.#leases.add(reader);
    return () => {
      if (!this.#leases.delete(reader)) return;
      for (const { readers } of this.#leaving) readers.delete(reader);
      // A file that cannot be removed now is an orphan at the next start.
      void this.#removeFree().catch(() => undefined);
    };
  }

  /**
   * Writes files and makes them durable, folders and all. None of them is named by the store.
   * @param engine reads the parts.
   */
  async write(
    table: TableSchema,
    parts: readonly Part[],
    engine = this.#archiver,
  ): Promise<readonly LakeFile[]> {
    const files: LakeFile[] = [];
    try {
      for (const part of parts) {
        if (part.rows > 0) files.push(await this.#writeOne(table, part, engine));
      }
      return files;
    } catch (error) {
      await this.discard(table, files);
      throw error;
    }
  }

  async #writeOne(
    table: TableSchema,
    { source, day, rows }: Part,
    engine: DuckWriter,
  ): Promise<LakeFile> {
    const name = randomIds.bytes(8).toString('hex');
    const staged = join(this.directory, stagingName, `${name}.parquet`);
    let path = staged;
    try {
      const { plainBytes, negativeZeros } = await this.weigh(table, source, rows, engine);
      // In a dictionary the engine's 0.0 and -0.0 are one value (duckdb/duckdb#25781).
      const dictionaries = negativeZeros ? 'DICTIONARY_SIZE_LIMIT 0, ' : '';
      const [stats] = await engine.all(`
        COPY (SELECT ${namesOf(table)} FROM (${source}) ORDER BY time, _receipt)
        TO ${quoted(staged)} (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2,
          ${dictionaries}ROW_GROUP_SIZE ${rowGroupRows(plainBytes / rows)}, RETURN_STATS)`);
      const crcs = await crcsAt(staged);
      const file = { name, day, plainBytes, ...statsOf(stats), crcs };
      assert(file.rows === rows, `${file.rows} of ${rows} rows are in a file`);
      await nodeDisk.syncFile(staged);
      const folder = join(this.directory, dayFolder(table, day));
      await nodeDisk.makeDirectory(folder);
      path = join(this.directory, filePath(table, file));
      await nodeDisk.rename(staged, path);
      await nodeDisk.syncDirectory(folder);
      return file;
    } catch (error) {
      await removeIfThere(path);
      throw fault('STORE_FAILED', { seen: messageOf(error) }, error);
    }
  }

  /**
   * The bytes of values in memory, about: 8 of a number, and the length of a text; and whether a
   * value is -0.0.
   */
  async weigh(
    { columns }: TableSchema,
    source: string,
    rows: number,
    engine = this.#archiver,
  ): Promise<{ readonly plainBytes: number; readonly negativeZeros: boolean }> {
    const named = (...types: readonly ColumnType[]) =>
      [...columns.values()].filter(({ type }) => types.includes(type)).map(({ name }) => name);
    const texts = ['_rescued_data', ...named('VARCHAR', 'JSON')];
    const sums = texts.map((name) => `coalesce(sum(strlen("${name}")), 0)`);
    const zeros = named('DOUBLE').map((name) => {
      return `, bool_or("${name}" = 0 AND signbit("${name}"))`;
    });
    const [found] = await engine.all(`
      SELECT (${sums.join(' + ')})::BIGINT AS bytes, greatest(false${zeros.join('')}) AS zeros
      FROM (${source})`);
    const plainBytes = Number(found?.bytes) + 8 * rows * (columns.size + 3);
    return { plainBytes, negativeZeros: found?.zeros === true };
  }

  /** Whether files are what was written, as far as is known. @throws DATA_DAMAGED */
  async mustBeWhole(table: TableSchema, files: readonly LakeFile[]): Promise<void> {
    for (const file of files) {
      const path = filePath(table, file);
      const [first] = damageIn(file.crcs, await crcsAt(join(this.directory, path)), file.bytes);
      if (first) throw damaged(path, first);
    }
  }

  /** Files that the store does not name: they go when no query reads them any more. */
  async discard(table: TableSchema, files: readonly LakeFile[]): Promise<void> {
    if (files.length === 0) return;
    const paths = files.map((file) => join(this.directory, filePath(table, file)));
    this.#leaving.push({ paths, readers: new Set(this.#leases) });
    await this.#removeFree();
  }

  async #removeFree(): Promise<void> {
    const free = this.#leaving.filter(({ readers }) => readers.size === 0);
    this.#leaving = this.#leaving.filter(({ readers }) => readers.size > 0);
    for (const path of free.flatMap(({ paths }) => paths)) await removeIfThere(path);
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await nodeDisk.remove(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** Rows of a file that are written together: as many as the engine would take, or fewer. */
function rowGroupRows(plainBytesPerRow: number): number {
  const vectors = Math.floor(limits.fileRowGroupBytesMax / plainBytesPerRow / vectorRows);
  return vectorRows * Math.min(60, Math.max(1, vectors));
}

/** What the engine says of a file that it has written. */
function statsOf(stats: Readonly<Record<string, Plain>> | undefined) {
  const columns = stats?.column_statistics as Readonly<Record<string, Record<string, string>>>;
  const of = (column: string) => columns[`"${column}"`] ?? {};
  const [time, receipt] = [of('time'), of('_receipt')];
  return {
    rows: Number(stats?.count),
    bytes: Number(stats?.file_size_bytes),
    timeMin: Number(time.min),
    timeMax: Number(time.max),
    receiptMin: BigInt(receipt.min ?? 0),
    receiptMax: BigInt(receipt.max ?? 0),
  };
}

/**
 * Sets files of ours aside that the catalog does not name, and removes folders that are empty then.
 * @param known paths of files, below the lake.
 * @returns the known ones that are not there, and how many were set aside
 */
export async function sweep(
  directory: string,
  known: ReadonlySet<string>,
  nowMs: number,
): Promise<{ readonly missing: readonly string[]; readonly setAside: number }> {
  await rm(join(directory, stagingName), { recursive: true, force: true });
  await nodeDisk.makeDirectory(join(directory, stagingName));
  await removeOld(join(directory, orphansName), nowMs);
  const missing = new Set(known);
  let setAside = 0;
  // Folders without anything in them are removed on the way.
  const tidied = (path: string) => rmdir(join(directory, path)).catch(() => undefined);
  for (const path of await lakePaths(directory, tidied)) {
    missing.delete(path);
    if (known.has(path)) continue;
    // Most likely a crash has left it. But a catalog that was lost must not take the files along.
    const name = path.replaceAll('/', '.');
    await nodeDisk.rename(join(directory, path), join(directory, orphansName, name));
    setAside += 1;
  }
  return { missing: [...missing].sort(), setAside };
}

/** What was set aside long ago. */
async function removeOld(directory: string, nowMs: number): Promise<void> {
  await nodeDisk.makeDirectory(directory);
  for (const name of await nodeDisk.list(directory)) {
    const { ctimeMs } = await stat(join(directory, name));
    if (nowMs - ctimeMs > limits.orphansKeptMs) await nodeDisk.remove(join(directory, name));
  }
}

/**
 * Files of ours, below the lake.
 * @param onFolder is told of each folder on the way, after what is in it
 */
export async function lakePaths(
  directory: string,
  onFolder: (path: string) => Promise<unknown> = () => Promise.resolve(),
  below = '',
  depth = 0,
): Promise<readonly string[]> {
  const paths: string[] = [];
  for (const entry of await readdir(join(directory, below), { withFileTypes: true })) {
    const path = join(below, entry.name);
    if (entry.isDirectory() && depth < 3 && !entry.name.startsWith('.')) {
      paths.push(...(await lakePaths(directory, onFolder, path, depth + 1)));
      await onFolder(path);
    } else if (depth === 3 && ourName.test(entry.name)) paths.push(path);
  }
  return paths;
}
