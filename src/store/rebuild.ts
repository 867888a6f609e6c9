import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { crcsAt, messageOf, nodeDisk } from '../base/index.ts';
import { growth, openCatalog, tableKey } from './catalog.ts';
import type { DuckWriter } from './duckdb.ts';
import { withStoreFile } from './inspect.ts';
import { lakePaths } from './lake-files.ts';
import { filesSql } from './lake-catalog.ts';
import type { LakeFile } from './lake-types.ts';
import type { Column, ColumnType } from './types.ts';
import { quoted, Relations, type StoredTable } from './views.ts';

/*
 * A new store of what the lake holds. Of two files that hold a row the newer one is right: files
 * are only ever replaced by later ones, as a whole, and what a replacement lacks was to go.
 */

export type Rebuilt = {
  readonly tables: number;
  readonly files: number;
  readonly rows: number;
  /** Files of ours that are not part of it, and why. */
  readonly left: readonly { readonly path: string; readonly why: string }[];
};

type Read = {
  readonly path: string;
  readonly database: string;
  readonly table: string;
  readonly file: LakeFile;
  readonly writtenAtMs: number;
  /** Types of columns, and how many values there are. */
  readonly columns: readonly { name: string; type: ColumnType; values: number }[];
};

const nameOf = /^([a-z0-9_]+)\/([a-z0-9_]+)\/date=([\w-]+)\/([0-9a-f]{16})\.parquet$/;
const types: readonly string[] = ['BIGINT', 'DOUBLE', 'BOOLEAN', 'VARCHAR', 'JSON'];
const own: readonly string[] = ['time', '_rescued_data', '_receipt'];

/**
 * Makes a store where there is none, of every file of the lake that can be read.
 * @param cursors where the log begins, by shard: what is in it will be loaded.
 */
export async function rebuildStore(
  dataDirectory: string,
  cursors: ReadonlyMap<number, number>,
): Promise<Rebuilt> {
  const lake = resolve(dataDirectory, 'lake');
  const directory = join(dataDirectory, 'store');
  await nodeDisk.makeDirectory(directory);
  await nodeDisk.makeDirectory(lake);
  const rebuilt = await withStoreFile(dataDirectory, 'READ_WRITE', async (engine) => {
    await openCatalog(engine);
    const left: { path: string; why: string }[] = [];
    const found: Read[] = [];
    for (const path of await lakePaths(lake)) {
      try {
        found.push(await readFile(engine, lake, path));
      } catch (error) {
        left.push({ path, why: messageOf(error) });
      }
    }
    const { kept, replaced } = await newest(engine, lake, found);
    left.push(...replaced.map(({ path }) => ({ path, why: 'newer files hold its rows' })));
    const tables = tablesOf(kept);
    const relations = new Relations(lake);
    await engine.transact(async () => {
      for (const table of tables) await register(engine, relations, table);
      for (const [shard, next] of cursors) {
        await engine.run(`INSERT INTO mr.cursors VALUES (${shard}, ${next})`);
      }
    });
    const rows = kept.reduce((sum, { file }) => sum + file.rows, 0);
    return { tables: tables.length, files: kept.length, rows, left };
  });
  await nodeDisk.syncDirectory(directory);
  return rebuilt;
}

/** Reads every value of a file. Throws what the engine says of one that it cannot read. */
async function readFile(engine: DuckWriter, lake: string, path: string): Promise<Read> {
  const [, database, table, day, name] = nameOf.exec(path) ?? [];
  if (!database || !table || !day || !name) throw new Error('its path is none of ours');
  const place = join(lake, path);
  const source = `read_parquet(${quoted(place)}, hive_partitioning = false)`;
  const described = await engine.all(`DESCRIBE FROM ${source}`);
  const columns = described
    .map((row) => ({ name: row.column_name as string, type: row.column_type as string }))
    .filter((column) => !own.includes(column.name));
  const strange = columns.find(({ name: column, type }) => {
    return !/^[a-z0-9_]+$/.test(column) || !types.includes(type);
  });
  if (strange) throw new Error(`its column ${strange.name} ${strange.type} is none of ours`);
  const counts = columns.map(({ name: column }, index) => `count("${column}") AS c${index}`);
  const [stats] = await engine.all(`
    SELECT ${['count(*) AS n', ...counts].join(', ')}, min(time) AS t0, max(time) AS t1,
      min(_receipt)::VARCHAR AS r0, max(_receipt)::VARCHAR AS r1, bit_xor(hash(f))::VARCHAR AS h
    FROM ${source} f`);
  if (!stats || Number(stats.n) === 0) throw new Error('it has no rows');
  const { size, mtimeMs } = await stat(place);
  return {
    path,
    database,
    table,
    writtenAtMs: mtimeMs,
    columns: columns.map((column, index) => {
      return { ...column, type: column.type as ColumnType, values: Number(stats[`c${index}`]) };
    }),
    file: {
      name,
      day,
      rows: Number(stats.n),
      bytes: size,
      plainBytes: 0,
      timeMin: Number(stats.t0),
      timeMax: Number(stats.t1),
      receiptMin: BigInt(stats.r0 as string),
      receiptMax: BigInt(stats.r1 as string),
      crcs: await crcsAt(place),
    },
  };
}

/** Without the files whose rows are in later ones. */
async function newest(engine: DuckWriter, lake: string, found: readonly Read[]) {
  const [kept, replaced]: [Read[], Read[]] = [[], []];
  for (const read of found.toSorted((a, b) => b.writtenAtMs - a.writtenAtMs)) {
    const near = kept.filter(({ database, table, file }) => {
      const isSame = database === read.database && table === read.table;
      const { receiptMin, receiptMax } = read.file;
      return isSame && file.receiptMin <= receiptMax && file.receiptMax >= receiptMin;
    });
    const paths = near.map(({ path }) => quoted(join(lake, path))).join(', ');
    const isReplaced =
      near.length > 0 &&
      (
        await engine.all(`SELECT 1 FROM read_parquet(${quoted(join(lake, read.path))})
          WHERE _receipt IN (SELECT _receipt FROM read_parquet([${paths}])) LIMIT 1`)
      ).length > 0;
    (isReplaced ? replaced : kept).push(read);
  }
  return { kept, replaced };
}

function tablesOf(reads: readonly Read[]): readonly StoredTable[] {
  const byName = Map.groupBy(reads, ({ database, table }) => tableKey(database, table));
  return [...byName.values()].map((of, index) => {
    const inOrder = of.toSorted((a, b) => a.file.timeMin - b.file.timeMin);
    const { database = '', table = '' } = inOrder[0] ?? {};
    const files = inOrder.map(({ file }) => file);
    return {
      id: index + 1,
      database,
      table,
      columns: columnsOf(inOrder),
      sealed: undefined,
      files,
    };
  });
}

/** A column has the type that its values have; files without any may have an older one. */
function columnsOf(reads: readonly Read[]): ReadonlyMap<string, Column> {
  const columns = new Map<string, Column>();
  const all = Map.groupBy(
    reads.flatMap((read) => read.columns),
    ({ name }) => name,
  );
  for (const [name, some] of all) {
    const full = some.filter(({ values }) => values > 0);
    const seen = new Set((full.length > 0 ? full : some).map(({ type }) => type));
    const areNumbers = [...seen].every((type) => type === 'BIGINT' || type === 'DOUBLE');
    const [only = 'VARCHAR'] = seen;
    const type = seen.size === 1 ? only : areNumbers ? 'DOUBLE' : 'VARCHAR';
    columns.set(name, { name, type, exactAsDouble: false });
  }
  return columns;
}

/** As part of the open transaction: a table with its files, and their rows in the books. */
async function register(
  engine: DuckWriter,
  relations: Relations,
  table: StoredTable,
): Promise<void> {
  for (const sql of growth(relations, undefined, table)) await engine.run(sql);
  await engine.run(filesSql(table, table.files));
  const { id, database, table: name, files } = table;
  const rows = files.reduce((sum, file) => sum + file.rows, 0);
  await engine.run(`UPDATE mr.tables SET rows = ${rows} WHERE id = ${id}`);
  // When they were received is not known any more: the time of the last row stands for it.
  const lines = files.map((file) => {
    const minute = Math.floor(file.timeMax / 60);
    return `(${minute}, '${database}', '${name}', '*', ${file.rows}, ${file.rows}, 0, 0, 0, 0)`;
  });
  await engine.run(`INSERT INTO mr.ledger VALUES ${lines.join(', ')}`);
}
