import type { DuckReader } from './duckdb.ts';
import type { Between, Eraser, Lake } from './lake-types.ts';
import type { Reload } from './reload-types.ts';
import type {
  Books,
  ColumnStatus,
  Conversion,
  EventId,
  Found,
  ParkedEvents,
  SeenId,
  Still,
  StoreBatch,
  TableBatch,
  TableSchema,
  TableStatus,
} from './types.ts';

/** The store, as a seam. */
export interface Store {
  readonly parked: ParkedEvents;
  readonly books: Books;
  readonly lake: Lake;
  readonly eraser: Eraser;
  /** By shard, as committed. */
  readonly cursors: ReadonlyMap<number, number>;
  /** Changes when a table is dropped: ids of events before then are not those of events after. */
  incarnation(database: string, table: string): string;
  /** Events of a dropped table before this offset of a shard were acknowledged before the drop. */
  droppedBefore(database: string, table: string, shard: number): number;
  /** The schema as committed; undefined when there is no such table. */
  schema(database: string, table: string): TableSchema | undefined;
  readonly tableCount: number;
  /**
   * Writes a batch in one transaction.
   * @throws STORE_FAILED: nothing of the batch is there; the same batch may be tried again.
   * @throws STORE_NO_ROOM: the same, while the disk has no room for it.
   * @throws STORE_INVALID: nobody knows; the store must be opened anew.
   */
  commit(batch: StoreBatch): Promise<void>;
  /**
   * Whether these rows can be read as the table's types. Writes nothing.
   * @throws STORE_FAILED when that cannot be told now
   */
  accepts(batch: TableBatch): Promise<boolean>;
  /**
   * Those of the ids that were seen before.
   * @throws STORE_FAILED when that cannot be told now
   */
  seen(ids: readonly EventId[]): Promise<readonly Omit<SeenId, 'receivedAtMs'>[]>;
  tables(): Promise<readonly TableStatus[]>;
  /** @throws NO_SUCH_TABLE */
  columns(database: string, table: string): Promise<readonly ColumnStatus[]>;
  /** The newest texts of `_rescued_data`, at most so many. @throws NO_SUCH_TABLE */
  rescued(database: string, table: string, count: number): Promise<readonly string[]>;
  /**
   * Gives a column another type: files are written anew, then all is changed in one transaction.
   * @throws NO_SUCH_TABLE, NO_SUCH_COLUMN; as `commit`
   */
  retype(
    database: string,
    table: string,
    column: string,
    conversion: Conversion,
    between: Between,
  ): Promise<void>;
  /**
   * Begins to derive a table anew.
   * @param isDry whether nothing is to be changed. @throws NO_SUCH_TABLE; as `commit`
   */
  reload(database: string, table: string, between: Between, isDry: boolean): Promise<Reload>;
  /**
   * Removes a table with its rows; what is in the log before the given offsets, by shard, will
   * not be rows of a new one. @throws as `commit`
   */
  dropTable(database: string, table: string, before: ReadonlyMap<number, number>): Promise<void>;
  /** What there is of a shard's receipts from `from` on, before `to`; in some tables or all. */
  find(
    shard: number,
    from: number,
    to: number,
    tables?: readonly string[],
  ): Promise<readonly Found[]>;
  /** Bytes on disk. */
  size(): Promise<number>;
  /**
   * The files of the store, without the lake, to be copied. To be called `between` two loads.
   * @throws STORE_INVALID: the store must be opened anew
   */
  still(): Promise<Still>;
  /** A connection for users' SQL. */
  reader(): Promise<DuckReader>;
  close(): Promise<void>;
}
