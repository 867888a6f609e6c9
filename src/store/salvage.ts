import { join } from 'node:path';
import type { Stretch } from '../base/index.ts';
import type { DuckWriter } from './duckdb.ts';
import type { Part } from './lake-files.ts';
import type { LakeFile } from './lake-types.ts';
import type { TableSchema } from './types.ts';
import { filePath, quoted } from './views.ts';

/**
 * The rows of a damaged file that lie where it is whole: those of row groups without damage. None
 * if its footer is damaged, which says where they lie.
 */
export async function wholeParts(
  engine: DuckWriter,
  lake: string,
  table: TableSchema,
  file: LakeFile,
  damage: readonly Stretch[],
): Promise<readonly Part[]> {
  const path = quoted(join(lake, filePath(table, file)));
  const isWhole = (from: number, to: number) =>
    damage.every((one) => one.to <= from || one.from >= to);
  if (!isWhole(file.bytes - 8, file.bytes)) return [];
  try {
    const groups = await engine.all(`
      SELECT any_value(row_group_num_rows)::BIGINT AS n,
        min(begin)::BIGINT AS start, max(begin + total_compressed_size)::BIGINT AS stop
      FROM (SELECT *, coalesce(dictionary_page_offset, data_page_offset) AS begin
        FROM parquet_metadata(${path})) GROUP BY row_group_id ORDER BY row_group_id`);
    const end = Math.max(0, ...groups.map(({ stop }) => Number(stop)));
    if (!isWhole(end, file.bytes)) return [];
    const names = await valuesIn(engine, table, path);
    const parts: Part[] = [];
    let first = 0;
    for (const { n, start, stop } of groups) {
      const rows = Number(n);
      const among = `file_row_number >= ${first} AND file_row_number < ${first + rows}`;
      const source = `SELECT ${names} FROM read_parquet(${path}, file_row_number = true)
        WHERE ${among}`;
      if (isWhole(Number(start), Number(stop))) parts.push({ source, day: file.day, rows });
      first += rows;
    }
    return parts;
  } catch {
    return [];
  }
}

/** The table's columns, of what a file has of them. */
async function valuesIn(engine: DuckWriter, table: TableSchema, path: string): Promise<string> {
  const described = await engine.all(`DESCRIBE FROM read_parquet(${path})`);
  const there = new Set(described.map(({ column_name: name }) => name));
  const values = [...table.columns.values()].map(({ name, type }) => {
    return `${there.has(name) ? `"${name}"` : 'NULL'}::${type} AS "${name}"`;
  });
  return ['time', ...values, '_rescued_data', '_receipt'].join(', ');
}
