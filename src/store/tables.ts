import { writeFile } from 'node:fs/promises';
import { receiptNumber } from '../event/index.ts';
import type { DuckWriter, Plain } from './duckdb.ts';
import type { LakeFile } from './lake-types.ts';
import { receiptSql } from './receipts.ts';
import type { Column, ColumnStatus, ColumnType, Conversion, Found } from './types.ts';
import type { TableSchema } from './types.ts';
import { nowSql, namesOf, quoted, type Relations, type StoredTable } from './views.ts';

/** Characters of changed rows that are written at once. */
const linesMax = 4 * 1024 * 1024;
/** Longer texts of `_rescued_data` are no examples. */
const rescuedLengthMax = 10_000;
/** Tables that are searched for a receipt at once. */
const searchedAtOnce = 50;

/** A table's columns, with how many rows have a value in each. */
export async function readColumns(
  reader: DuckWriter,
  relations: Relations,
  table: StoredTable,
): Promise<readonly ColumnStatus[]> {
  const names = [...table.columns.keys()];
  const counts = names.map((name, index) => `count("${name}") AS c${index}`);
  const [hot] = await reader.all(`
    SELECT ${['1', ...counts].join(', ')} FROM ${relations.all({ ...table, files: [] })}`);
  const inFiles = await valuesInFiles(reader, relations, table);
  const known = await reader.all(`
    SELECT name, type, epoch_ms(since) AS since_ms, rescued FROM mr.columns
    WHERE table_id = ${table.id} ORDER BY ordinal`);
  return known.map((column) => {
    const name = column.name as string;
    return {
      column: name,
      type: column.type as ColumnType,
      sinceMs: Number(column.since_ms),
      rows: Number(hot?.[`c${names.indexOf(name)}`]) + (inFiles.get(name) ?? 0),
      rescued: Number(column.rescued),
    };
  });
}

/** How many values a table's files have by column: what their ends say. */
async function valuesInFiles(
  reader: DuckWriter,
  relations: Relations,
  table: StoredTable,
): Promise<ReadonlyMap<string, number>> {
  if (table.files.length === 0) return new Map();
  const rows = await reader.all(`
    SELECT path_in_schema AS name, sum(num_values - stats_null_count)::BIGINT AS n
    FROM parquet_metadata([${relations.paths(table, table.files).join(', ')}]) GROUP BY name`);
  return new Map(rows.map(({ name, n }) => [name as string, Number(n)]));
}

/** Rescued values of a table: the newest texts of `_rescued_data`. */
export async function rescuedTexts(
  reader: DuckWriter,
  relations: Relations,
  table: StoredTable,
  count: number,
): Promise<readonly string[]> {
  const rows = await reader.all(`
    SELECT _rescued_data AS text FROM ${relations.all(table)}
    WHERE _rescued_data IS NOT NULL AND strlen(_rescued_data) < ${rescuedLengthMax}
    ORDER BY _receipt DESC LIMIT ${count}`);
  return rows.map(({ text }) => text as string);
}

/** A column that gets another type, and where its changed cells are written meanwhile. */
export type Retype = {
  readonly column: Column;
  readonly conversion: Conversion;
  /** A file for what changes; it need not survive anything. */
  readonly path: string;
};

/** The table with the type that its column has then. */
export function retyped(table: StoredTable, { column, conversion }: Retype): StoredTable {
  const { exactAsDouble } = conversion.result();
  const { type } = conversion;
  const columns = new Map(table.columns);
  return { ...table, columns: columns.set(column.name, { ...column, type, exactAsDouble }) };
}

/**
 * As part of the open transaction: gives a column of hot rows another type, row by row where it
 * has a value or something was rescued. The rows go to a new table, in the place of the old one.
 */
export async function retypeHot(
  writer: DuckWriter,
  reader: DuckWriter,
  table: StoredTable,
  retype: Retype,
): Promise<StoredTable> {
  const hot = `mr.hot_${table.id}`;
  await writeCells(reader, `SELECT *, rowid AS place FROM ${hot}`, retype);
  const after = retyped(table, retype);
  const { type } = retype.conversion;
  const { left } = retype.conversion.result();
  const exactAsDouble = after.columns.get(retype.column.name)?.exactAsDouble === true;
  const source = retypedSql(table, `SELECT *, rowid AS place FROM ${hot}`, retype);
  await writer.run(`CREATE TABLE ${hot}_new AS SELECT * EXCLUDE (place) FROM (${source})
    ORDER BY place`);
  await writer.run(`DROP TABLE ${hot}`);
  await writer.run(`ALTER TABLE ${hot}_new RENAME TO hot_${table.id}`);
  await writer.run(`UPDATE mr.columns SET type = '${type}', exact_as_double = ${exactAsDouble},
    since = ${nowSql}, rescued = ${left}
    WHERE table_id = ${table.id} AND name = '${retype.column.name}'`);
  return after;
}

/** Rows with the column in its new type, as the cells that were written say; all else as it is. */
export function retypedSql(table: TableSchema, source: string, retype: Retype): string {
  const { column, conversion, path } = retype;
  const { type } = conversion;
  const text = type === 'JSON' ? 'VARCHAR' : type;
  // A row that is not among the changed has nothing rescued, and keeps it in any case.
  const rescued =
    'CASE WHEN changed.receipt IS NULL THEN kept._rescued_data ELSE changed.rescued END';
  const names = ['time', '_rescued_data', '_receipt', ...table.columns.keys()].map((name) => {
    if (name === column.name) return `changed.value::${type} AS "${name}"`;
    return name === '_rescued_data' ? `${rescued} AS ${name}` : `kept."${name}"`;
  });
  return `SELECT ${names.join(', ')}, kept.* EXCLUDE (${namesOf(table)})
    FROM (${source}) kept LEFT JOIN read_ndjson(${quoted(path)}, columns = {
      receipt: 'BIGINT', value: '${text}', rescued: 'VARCHAR'}) changed
    ON kept._receipt = changed.receipt`;
}

/** Writes the cells of a source's rows that change. */
export async function writeCells(
  reader: DuckWriter,
  source: string,
  { column, conversion, path }: Retype,
): Promise<void> {
  await writeFile(path, '');
  for await (const cells of changedCells(reader, `(${source})`, column, conversion)) {
    await writeFile(path, cells, { flag: 'a' });
  }
}

/** Lines with the cells of each row that has a value in the column or in `_rescued_data`. */
async function* changedCells(
  reader: DuckWriter,
  source: string,
  { name, type }: { readonly name: string; readonly type: ColumnType },
  conversion: Conversion,
): AsyncGenerator<string> {
  const value = jsonTextSql(`"${name}"`, type);
  const chunks = reader.stream(`
    SELECT _receipt::VARCHAR, ${value}, _rescued_data
    FROM ${source} WHERE "${name}" IS NOT NULL OR _rescued_data IS NOT NULL`);
  let lines = '';
  for await (const rows of chunks) {
    for (const [receipt, given, before] of rows) {
      const cell = { value: textOf(given), rescued: textOf(before) };
      const { value: text, rescued } = conversion.change(cell);
      lines += `{"receipt":${receipt as string}`;
      if (text !== undefined) lines += `,"value":${text}`;
      if (rescued !== undefined) lines += `,"rescued":${JSON.stringify(rescued)}`;
      lines += '}\n';
      if (lines.length < linesMax) continue;
      yield lines;
      lines = '';
    }
  }
  yield lines;
}

/** A value as JSON text; what is JSON already stays as it is. */
function jsonTextSql(column: string, type: ColumnType): string {
  const text = `to_json(${column})::VARCHAR`;
  if (type === 'JSON') return `${column}::VARCHAR`;
  if (type !== 'DOUBLE') return text;
  // A whole number with all its digits: the engine would round those that a DOUBLE needs not.
  const isWhole = `${column} = trunc(${column}) AND abs(${column}) < 1e21 AND ${text} <> '-0.0'`;
  return `CASE WHEN ${isWhole} THEN ${column}::HUGEINT::VARCHAR ELSE ${text} END`;
}

function textOf(value: Plain | undefined): string | undefined {
  return (value ?? undefined) as string | undefined;
}

/** As part of the open transaction: removes a table, and remembers up to where it was filled. */
export async function dropTable(
  writer: DuckWriter,
  { id, database, table }: StoredTable,
  before: ReadonlyMap<number, number>,
): Promise<void> {
  await writer.run(`DROP VIEW "${database}"."${table}"`);
  await writer.run(`DROP TABLE mr.hot_${id}`);
  await writer.run(`DELETE FROM mr.columns WHERE table_id = ${id}`);
  await writer.run(`DELETE FROM mr.tables WHERE id = ${id}`);
  await writer.run(
    `DELETE FROM mr.dropped WHERE "database" = '${database}' AND "table" = '${table}'`,
  );
  for (const [shard, offset] of before) {
    await writer.run(
      `INSERT INTO mr.dropped VALUES ('${database}', '${table}', ${shard}, ${offset})`,
    );
  }
}

/** Rows of tables whose receipts are in a range. */
export async function findRows(
  reader: DuckWriter,
  relations: Relations,
  tables: readonly StoredTable[],
  shard: number,
  from: number,
  to: number,
): Promise<readonly Found[]> {
  const found: Found[] = [];
  const [first, last] = [receiptNumber(shard, from), receiptNumber(shard, to - 1)];
  const mayHold = ({ receiptMin, receiptMax }: LakeFile) => {
    return receiptMin <= BigInt(last) && receiptMax >= BigInt(first);
  };
  for (let at = 0; at < tables.length; at += searchedAtOnce) {
    const parts = tables.slice(at, at + searchedAtOnce).map((table) => {
      const searched = { ...table, files: table.files.filter(mayHold) };
      return `SELECT _receipt AS receipt, '${table.database}' AS database, '${table.table}' AS name
        FROM ${relations.all(searched)} WHERE _receipt BETWEEN ${first} AND ${last}`;
    });
    const rows = await reader.all(`
      SELECT ${receiptSql('receipt')} AS receipt, "database", name
      FROM (${parts.join(' UNION ALL ')}) ORDER BY ALL`);
    for (const { receipt, database, name } of rows) {
      const [text, inside] = [receipt as string, database as string];
      found.push({ receipt: text, database: inside, table: name as string });
    }
  }
  return found;
}
