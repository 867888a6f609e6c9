import { limits } from '../base/index.ts';
import { tableRows } from './catalog.ts';
import type { Appended, DuckWriter } from './duckdb.ts';
import type { CellValue, Rows } from './rows.ts';
import { namesOf, type Relations, type StoredTable } from './views.ts';

/*
 * Rows that came few at a time, those of all tables together. In a table of their own each would
 * cost a statement and, while it is written, a megabyte: a thousand tables with an event a second
 * were more than a processor could do. A value is here as its text, which is exact, at the place
 * of its column. Before anything but a load changes a table, its rows are gathered there.
 */

/** Whether rows of a table in one transaction are to be fresh. */
export function areFew(rows: Rows): boolean {
  const { freshRowsOfTableMax, freshRowBytesMax } = limits;
  return rows.count <= freshRowsOfTableMax && rows.bytes <= rows.count * freshRowBytesMax;
}

export function freshRows(rows: Rows, table: StoredTable): readonly (readonly Appended[])[] {
  return tableRows(rows, table).map(([time, rescued, receipt, ...cells]) => {
    return [table.id, time, rescued, receipt, cells.map(textOf)];
  });
}

function textOf(value: CellValue): string | null {
  if (value === undefined) return null;
  return Object.is(value, -0) ? '-0' : String(value);
}

/** As part of the open transaction: the fresh rows of a table join its own. */
export async function gather(
  writer: DuckWriter,
  relations: Relations,
  table: StoredTable,
): Promise<void> {
  await writer.run(`INSERT INTO mr.hot_${table.id} (${namesOf(table)}) ${relations.fresh(table)}`);
  await removeFresh(writer, table);
}

/** As part of the open transaction. */
export function removeFresh(writer: DuckWriter, { id }: { readonly id: number }): Promise<void> {
  return writer.run(`DELETE FROM mr.fresh WHERE table_id = ${id}`);
}

/** As part of the open transaction: what was removed leaves the engine's blocks. */
export async function renewFresh(writer: DuckWriter): Promise<void> {
  await writer.run('CREATE TABLE mr.fresh_new AS FROM mr.fresh');
  await writer.run('DROP TABLE mr.fresh');
  await writer.run('ALTER TABLE mr.fresh_new RENAME TO fresh');
}
