import { limits } from '../base/index.ts';
import type { DuckWriter } from './duckdb.ts';
import { Lists } from './lists.ts';
import { Cursor, Rows, type Values } from './rows.ts';
import { parquetOf } from './staging.ts';
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

/** Rows of many tables on their way to `mr.fresh`. */
export class FreshRows {
  readonly #rows = new Rows();
  readonly #ids = this.#rows.column('table_id', 'BIGINT');
  readonly #times = this.#rows.column('time', 'BIGINT');
  readonly #rescued = this.#rows.column('rescued', 'VARCHAR');
  readonly #receipts = this.#rows.column('receipt', 'BIGINT');
  readonly #cells = new Lists();

  get count(): number {
    return this.#rows.count;
  }

  /** The rows as a file, in pieces. */
  get file(): readonly Uint8Array[] {
    return parquetOf(this.#rows, this.#cells);
  }

  /** Adds rows of a table. */
  add({ columns, count }: Rows, table: StoredTable): void {
    const cursorOf = (name: string) => {
      const values = columns.get(name);
      return values && new Cursor(values);
    };
    const [times, rescued] = [cursorOf('time'), cursorOf('_rescued_data')];
    const receipts = cursorOf('_receipt');
    const cells = [...table.columns.keys()].map(cursorOf);
    for (let row = 0; row < count; row += 1) {
      const to = this.#rows.count;
      this.#ids.addSafeInteger(to, table.id);
      if (times?.goTo(row)) copyInteger(times, this.#times, to);
      if (receipts?.goTo(row)) copyInteger(receipts, this.#receipts, to);
      if (rescued?.goTo(row)) this.#rescued.addText(to, rescued.bytes, rescued.from, rescued.to);
      for (const cell of cells) {
        if (cell?.goTo(row)) this.#addCell(cell);
        else this.#cells.addMissing();
      }
      this.#cells.endList();
      this.#rows.endRow();
    }
  }

  #addCell(cell: Cursor): void {
    switch (cell.type) {
      case 'VARCHAR':
      case 'JSON':
        return this.#cells.addBytes(cell.bytes, cell.from, cell.to);
      case 'BIGINT':
        return this.#cells.addInteger(cell.integer);
      case 'DOUBLE':
        return this.#cells.addPlain(Object.is(cell.value, -0) ? '-0' : String(cell.value));
      case 'BOOLEAN':
        return this.#cells.addPlain(String(cell.value));
    }
  }

  /** Gives the memory to others. */
  release(): void {
    this.#rows.release();
    this.#cells.release();
  }
}

/** Reads a file of fresh rows, in the order of `mr.fresh`. */
export function selectFresh(path: string): string {
  return `SELECT c0::INTEGER, c1, c2, c3, c4 FROM read_parquet('${path.replaceAll("'", "''")}')`;
}

function copyInteger({ bytes, from }: Cursor, into: Values, row: number): void {
  into.addInteger(row, bytes.readInt32LE(from), bytes.readInt32LE(from + 4));
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
