import type { Between } from './lake-types.ts';
import type { Column, ColumnType, TableBatch, TableSchema } from './types.ts';

/** Offsets of a shard: from `from` on, before `to`. */
export type Stretch = { readonly shard: number; readonly from: number; readonly to: number };

/**
 * A table that is derived anew from the events of its rows, beside itself. Its set of rows does not
 * change. Calls come in this order: `cover` for each stretch whose events are there, `begin`, `add`
 * of the same rows, then `finish`, and while it says false `more` and `add` again; `close` at last.
 * One at a time, and none while a table is changed otherwise.
 * @throws as `commit`; nothing is changed then
 */
export interface Reload {
  /** Rows that the table has, as it began. */
  readonly rows: number;
  /** Those of them that are derived. */
  readonly covered: number;
  /** As far as they are known. */
  readonly columns: ReadonlyMap<string, Column>;
  /**
   * Takes note of a stretch behind those before it.
   * @param offsets of the table's events that are there. @returns those that are rows
   */
  cover(stretch: Stretch, offsets: readonly number[]): Promise<ReadonlySet<number>>;
  /**
   * Ends that. Columns in which other rows have values stay.
   * @param types of the other columns, in their order. @returns the schema to begin with
   */
  begin(types: ReadonlyMap<string, ColumnType>): Promise<TableSchema>;
  /** The offsets in a stretch of the rows that are derived in this round. */
  rowsIn(stretch: Stretch): Promise<ReadonlySet<number>>;
  /** Takes rows whose columns have grown out of those before. */
  add(batch: TableBatch): Promise<void>;
  /** Begins another round, with the rows that came meanwhile. @returns where they are */
  more(between: Between): Promise<readonly Stretch[]>;
  /**
   * Puts it in the place of the table.
   * @param last derives rows that came meanwhile, by their receipts as numbers, and where they are;
   *   undefined: in another round.
   * @returns whether it did, or another round is needed
   * @throws RELOAD_DISTURBED when rows would be lost
   */
  finish(
    between: Between,
    last: (hot: readonly Stretch[], rows: ReadonlySet<string>) => Promise<TableBatch | undefined>,
  ): Promise<boolean>;
  /** @param error why it was given up. */
  close(error?: unknown): Promise<void>;
}
