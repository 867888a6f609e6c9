import { assert } from '../base/index.ts';
import type { DuckReader } from './duckdb.ts';

/** JSON is text that is known to be JSON. */
export type ColumnType = 'BIGINT' | 'DOUBLE' | 'BOOLEAN' | 'VARCHAR' | 'JSON';

export type Column = {
  readonly name: string;
  readonly type: ColumnType;
  /** Whether every BIGINT so far is exact as a DOUBLE, so that widening would lose nothing. */
  readonly exactAsDouble: boolean;
};

export type TableSchema = {
  readonly database: string;
  readonly table: string;
  /** By name, in the order in which they appeared. `time` and our own are not among them. */
  readonly columns: ReadonlyMap<string, Column>;
};

/** Rows for one table. */
export type TableBatch = TableSchema & {
  /**
   * JSON objects, one per row: `_receipt` (number), `time`, `_rescued_data` (JSON text in a
   * string) where there is some, and columns of the schema; nested values as text in a string.
   */
  readonly lines: readonly string[];
  /** Values that went to `_rescued_data`, by column name. */
  readonly rescued: ReadonlyMap<string, number>;
  /** Repeats of events that are in the table: they are counted, and not stored again. */
  readonly duplicates: number;
  /** Ids of the events among `lines` that have one. */
  readonly ids: readonly SeenId[];
};

/** An event's id within its table, as kept to recognize repeats. */
export type EventId = {
  /** The first 8 and the next 8 bytes of a hash of table and id. */
  readonly high: bigint;
  readonly low: bigint;
};

/** An id that was seen, with what it stood for. */
export type SeenId = EventId & {
  /** The first 8 bytes of a hash of the body: a repeat is the same event. */
  readonly digest: bigint;
  readonly receivedAtMs: number;
};

/** Why an event is in quarantine: a closed list. */
export type QuarantineReason =
  | 'unknown_key'
  | 'key_not_allowed'
  | 'key_revoked'
  | 'key_expired'
  | 'too_many_tables'
  | 'id_reused'
  | 'unloadable';

export type QuarantineRow = {
  readonly receipt: string;
  readonly receivedAtMs: number;
  readonly database: string;
  readonly table: string;
  readonly reason: QuarantineReason;
  /** Hexadecimal. */
  readonly fingerprint: string;
  /** The form in which it came, and what its request said beside it: JSON. */
  readonly dialect: string;
  readonly context: string;
  /** The event's exact text. */
  readonly body: string;
};

/** What one transaction writes. */
export type StoreBatch = {
  readonly tables: readonly TableBatch[];
  readonly quarantine: readonly QuarantineRow[];
  /** By shard: all before this offset is in the store when the batch is. */
  readonly cursors: ReadonlyMap<number, number>;
  /** Ids of events that were received before this are forgotten. */
  readonly forgetBeforeMs: number;
};

export type TableStatus = {
  readonly database: string;
  readonly table: string;
  readonly rows: number;
  readonly columns: number;
  /** Repeats that were not stored again. */
  readonly duplicates: number;
};

/** The store, as a seam. */
export interface Store {
  /** By shard, as committed. */
  readonly cursors: ReadonlyMap<number, number>;
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
  quarantineCount(): Promise<number>;
  /** Bytes on disk. */
  size(): Promise<number>;
  /** A connection for users' SQL. */
  reader(): Promise<DuckReader>;
  close(): Promise<void>;
}

const offsetBits = 48n;
const offsetDigits = 15;
const shardMax = 2 ** 14;

/** A receipt as the store keeps it: shard and offset in one 64-bit integer, as digits. */
export function receiptNumber(shard: number, offset: number): string {
  assert(shard < shardMax && offset < 2 ** Number(offsetBits), 'a receipt fits in 64 bits');
  return shard === 0 ? String(offset) : String((BigInt(shard) << offsetBits) | BigInt(offset));
}

/** A receipt as people see it: `<shard>-<offset>`; those of a shard sort in their order. */
export function receiptText(shard: number, offset: number): string {
  return `${shard}-${String(offset).padStart(offsetDigits, '0')}`;
}

/** The SQL that turns the column `_receipt` of a hot table into what people see. */
export const receiptSql = `printf('%d-%0${offsetDigits}d', _receipt >> ${offsetBits},
  _receipt & ${2n ** offsetBits - 1n})`;
