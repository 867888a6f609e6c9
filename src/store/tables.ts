import { rm, writeFile } from 'node:fs/promises';
import { fault } from '../base/index.ts';
import { receiptNumber } from '../event/index.ts';
import { insertColumns, nowSql, type StoredTable, viewSql } from './catalog.ts';
import type { DuckWriter, Plain } from './duckdb.ts';
import { receiptSql } from './receipts.ts';
import type { ColumnStatus, ColumnType, Conversion, Found, TableSchema } from './types.ts';

/** Characters of changed rows that are written at once. */
const linesMax = 4 * 1024 * 1024;
/** Longer texts of `_rescued_data` are no examples. */
const rescuedLengthMax = 10_000;
/** Tables that are searched for a receipt at once. */
const searchedAtOnce = 50;

/** A table's columns, with how many rows have a value in each. */
export async function readColumns(
  reader: DuckWriter,
  { id, columns }: StoredTable,
): Promise<readonly ColumnStatus[]> {
  const names = [...columns.keys()];
  const counts = names.map((name, index) => `count("${name}") AS c${index}`);
  const [row] = await reader.all(`SELECT ${['1', ...counts].join(', ')} FROM mr.hot_${id}`);
  const known = await reader.all(`
    SELECT name, type, epoch_ms(since) AS since_ms, rescued FROM mr.columns
    WHERE table_id = ${id} ORDER BY ordinal`);
  return known.map((column) => ({
    column: column.name as string,
    type: column.type as ColumnType,
    sinceMs: Number(column.since_ms),
    rows: Number(row?.[`c${names.indexOf(column.name as string)}`]),
    rescued: Number(column.rescued),
  }));
}

/** Rescued values of a table: the newest texts of `_rescued_data`. */
export async function rescuedTexts(
  reader: DuckWriter,
  { id }: StoredTable,
  count: number,
): Promise<readonly string[]> {
  const rows = await reader.all(`
    SELECT _rescued_data AS text FROM mr.hot_${id}
    WHERE _rescued_data IS NOT NULL AND strlen(_rescued_data) < ${rescuedLengthMax}
    ORDER BY _receipt DESC LIMIT ${count}`);
  return rows.map(({ text }) => text as string);
}

/**
 * As part of the open transaction: gives a column another type, row by row where it has a value or
 * something was rescued. The rows go to a new table, which takes the place of the old one.
 * @param path a file for what changes; it need not survive anything.
 */
export async function retype(
  writer: DuckWriter,
  reader: DuckWriter,
  table: StoredTable,
  column: string,
  conversion: Conversion,
  path: string,
): Promise<StoredTable> {
  const hot = `mr.hot_${table.id}`;
  const old = table.columns.get(column);
  if (!old)
    throw fault('NO_SUCH_COLUMN', { seen: column, table: `${table.database}.${table.table}` });
  try {
    await writeFile(path, '');
    for await (const cells of changedCells(reader, hot, old, conversion)) {
      await writeFile(path, cells, { flag: 'a' });
    }
    const { exactAsDouble, left } = conversion.result();
    const { type } = conversion;
    const columns = new Map(table.columns).set(column, { name: column, type, exactAsDouble });
    const after = { ...table, columns };
    const text = type === 'JSON' ? 'VARCHAR' : type;
    // A row that is not among the changed has nothing rescued, and keeps it in any case.
    const rescued =
      'CASE WHEN changed.receipt IS NULL THEN kept._rescued_data ELSE changed.rescued END';
    const names = insertColumns(after)
      .split(', ')
      .map((name) => {
        if (name === `"${column}"`) return `changed.value::${type} AS ${name}`;
        return name === '_rescued_data' ? `${rescued} AS ${name}` : `kept.${name}`;
      });
    await writer.run(`CREATE TABLE ${hot}_new AS SELECT ${names.join(', ')}
      FROM ${hot} kept LEFT JOIN read_ndjson('${path.replaceAll("'", "''")}', columns = {
        receipt: 'BIGINT', value: '${text}', rescued: 'VARCHAR'}) changed
      ON kept._receipt = changed.receipt ORDER BY kept.rowid`);
    await writer.run(`DROP TABLE ${hot}`);
    await writer.run(`ALTER TABLE ${hot}_new RENAME TO hot_${table.id}`);
    await writer.run(`UPDATE mr.columns SET type = '${type}', exact_as_double = ${exactAsDouble},
      since = ${nowSql}, rescued = ${left} WHERE table_id = ${table.id} AND name = '${column}'`);
    await writer.run(viewSql(after));
    return after;
  } finally {
    await rm(path, { force: true });
  }
}

/** Lines with the cells of each row that has a value in the column or in `_rescued_data`. */
async function* changedCells(
  reader: DuckWriter,
  hot: string,
  { name, type }: { readonly name: string; readonly type: ColumnType },
  conversion: Conversion,
): AsyncGenerator<string> {
  const value = jsonTextSql(`"${name}"`, type);
  const chunks = reader.stream(`
    SELECT _receipt::VARCHAR, ${value}, _rescued_data
    FROM ${hot} WHERE "${name}" IS NOT NULL OR _rescued_data IS NOT NULL`);
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
  tables: readonly (TableSchema & { readonly id: number })[],
  shard: number,
  from: number,
  to: number,
): Promise<readonly Found[]> {
  const found: Found[] = [];
  const range = `BETWEEN ${receiptNumber(shard, from)} AND ${receiptNumber(shard, to - 1)}`;
  for (let at = 0; at < tables.length; at += searchedAtOnce) {
    const parts = tables.slice(at, at + searchedAtOnce).map(({ id, database, table }) => {
      return `SELECT _receipt AS receipt, '${database}' AS database, '${table}' AS name
        FROM mr.hot_${id} WHERE _receipt ${range}`;
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
