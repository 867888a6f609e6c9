import type { DuckWriter, Plain } from './duckdb.ts';
import type { LakeFile } from './lake-types.ts';
import type { Column, ColumnType } from './types.ts';
import { nowSql, quoted, type Relations, type StoredTable } from './views.ts';

/* What the catalog knows of the lake. */

/** Makes its tables. */
export const lakeSql = `
BEGIN;
CREATE TABLE mr.files (
  name VARCHAR, table_id INTEGER, day VARCHAR, rows BIGINT, bytes BIGINT, time_min BIGINT,
  time_max BIGINT, receipt_min BIGINT, receipt_max BIGINT, written_at TIMESTAMP);
CREATE TABLE mr.retention ("database" VARCHAR, "table" VARCHAR, seconds BIGINT);
CREATE TABLE mr.lake (directory VARCHAR);
CREATE TABLE mr.erasures (
  id BIGINT, "database" VARCHAR, "table" VARCHAR, condition VARCHAR, started_at TIMESTAMP,
  finished_at TIMESTAMP, hot BIGINT, files BIGINT, quarantine BIGINT, until VARCHAR,
  rows_gone BOOLEAN);
CREATE VIEW millrace.files AS
  SELECT t."database", t.name AS "table", f.day, f.rows, f.bytes, f.time_min, f.time_max,
    f.written_at, t."database" || '/' || t.name || '/date=' || f.day || '/' || f.name || '.parquet'
      AS path
  FROM mr.files f JOIN mr.tables t ON t.id = f.table_id ORDER BY ALL;
CREATE VIEW millrace.erasures AS
  SELECT "database", "table", condition, started_at, finished_at, hot, files, quarantine
  FROM mr.erasures ORDER BY id;
CREATE VIEW millrace.retention AS
  SELECT "database", "table", seconds FROM mr.retention ORDER BY ALL;
COMMIT;
`;

/** By table, in the order of their rows. */
export async function readFiles(duck: DuckWriter): Promise<Map<number, LakeFile[]>> {
  const files = new Map<number, LakeFile[]>();
  for (const row of await duck.all('FROM mr.files ORDER BY time_min, time_max, name')) {
    const file = {
      name: row.name as string,
      day: row.day as string,
      rows: Number(row.rows),
      bytes: Number(row.bytes),
      plainBytes: Number(row.plain_bytes),
      timeMin: Number(row.time_min),
      timeMax: Number(row.time_max),
      receiptMin: BigInt(row.receipt_min as string),
      receiptMax: BigInt(row.receipt_max as string),
      crcs: ((row.crcs ?? []) as readonly Plain[]).map(Number),
    };
    const id = Number(row.table_id);
    files.set(id, [...(files.get(id) ?? []), file]);
  }
  return files;
}

/** The statement that names files. */
export function filesSql({ id }: StoredTable, files: readonly LakeFile[]): string {
  const rows = files.map((file) => {
    const { name, day, rows: count, bytes, plainBytes } = file;
    const { timeMin, timeMax, receiptMin, receiptMax, crcs } = file;
    const numbers = [count, bytes, timeMin, timeMax, receiptMin, receiptMax];
    const own = `'${name}', ${id}, '${day}', ${numbers.join(', ')}`;
    return `(${own}, ${nowSql}, ${plainBytes}, [${crcs.join(', ')}]::UINTEGER[])`;
  });
  return `INSERT INTO mr.files VALUES ${rows.join(', ')}`;
}

/** The generations that were sealed when the store was closed or killed, by table. */
export async function readSealed(
  duck: DuckWriter,
): Promise<Map<number, NonNullable<StoredTable['sealed']>>> {
  const columns = new Map<number, Map<string, Column>>();
  for (const row of await duck.all(`
    SELECT table_name, column_name, data_type FROM duckdb_columns()
    WHERE schema_name = 'mr' AND starts_with(table_name, 'sealed_')
    ORDER BY table_name, column_index`)) {
    const id = Number((row.table_name as string).slice('sealed_'.length));
    const [name, type] = [row.column_name as string, row.data_type as ColumnType];
    const known = columns.get(id) ?? new Map<string, Column>();
    columns.set(id, known.set(name, { name, type, exactAsDouble: false }));
  }
  const sealed = new Map<number, NonNullable<StoredTable['sealed']>>();
  for (const [id, of] of columns) {
    const [found] = await duck.all(`SELECT count(*) AS n FROM mr.sealed_${id}`);
    sealed.set(id, { columns: of, rows: Number(found?.n) });
  }
  return sealed;
}

/** Views name files by their whole paths: a data directory that has moved gets new ones. */
export async function follow(
  duck: DuckWriter,
  relations: Relations,
  directory: string,
  tables: Iterable<StoredTable>,
): Promise<void> {
  const [known] = await duck.all('FROM mr.lake');
  if (known?.directory === directory) return;
  await duck.transact(async () => {
    for (const table of tables) await duck.run(relations.view(table));
    await duck.run('DELETE FROM mr.lake');
    await duck.run(`INSERT INTO mr.lake VALUES (${quoted(directory)})`);
  });
}
