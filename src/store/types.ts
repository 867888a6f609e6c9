import type { ReadableFile } from '../base/index.ts';
import type { Receipt } from '../event/index.ts';
import type { ColumnType, Rows } from './rows.ts';

export type { ColumnType };

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
  /** With `_receipt` and `time`, `_rescued_data` where there is some, and columns of the schema. */
  readonly rows: Rows;
  /** Values that went to `_rescued_data`, by column name. */
  readonly rescued: ReadonlyMap<string, number>;
  /** Repeats of events that are in the table: they are counted, and not stored again. */
  readonly duplicates: number;
  /** Ids of the events among `rows` that have one. */
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
  | 'table_dropped'
  | 'id_reused'
  | 'unloadable';

/** An event in quarantine. */
export type QuarantineRow = Receipt & {
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
  /** The address it came from, if the edge saw that its key may not write there; else empty. */
  readonly address: string;
  /** Where the ledger has it. */
  readonly account: Account;
};

/** A line of the ledger: events of one minute (since the epoch), table and key. */
export type Account = {
  readonly minute: number;
  /** `*` for events in quarantine whose table nobody has: senders name them as they like. */
  readonly database: string;
  readonly table: string;
  /** `*` for keys that nobody made. */
  readonly keyId: string;
};

/** What is added to an account; an event that moves on is taken from where it was. */
export type Entry = Account & {
  readonly received: number;
  /** In its table. */
  readonly committed: number;
  /** In quarantine. */
  readonly quarantined: number;
  /** Repeats of events that are in their table. */
  readonly deduplicated: number;
  /** Was in quarantine until it was too old or too much. */
  readonly expired: number;
  /** Removed by an operator. */
  readonly dropped: number;
};

/** How many events of a key had a `td_record_time` so far from their receipt. */
export type SkewCount = {
  readonly day: number;
  readonly keyId: string;
  /** See `skewBounds`. */
  readonly bucket: number;
  readonly events: number;
};

/** Which events of the quarantine are meant; nothing given means all. */
export type ParkedFilter = {
  readonly reasons?: readonly string[] | undefined;
  /** Fingerprints, or how they begin; hexadecimal. */
  readonly fingerprints?: readonly string[] | undefined;
  readonly database?: string | undefined;
  readonly table?: string | undefined;
  /** By the time of receipt, ms since the epoch; `untilMs` not included. */
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
  readonly receipt?: Receipt | undefined;
  /** The same for many, as numbers. */
  readonly receipts?: readonly bigint[] | undefined;
  /** Only events of these senders and tables. */
  readonly among?: readonly ParkedSource[] | undefined;
};

/** Whose events are in quarantine, for which table and why. */
export type ParkedSource = Pick<QuarantineRow, 'reason' | 'fingerprint' | 'database' | 'table'>;

export type ParkedGroup = ParkedSource & {
  readonly keyId: string;
  readonly events: number;
  readonly bytes: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
};

/** What there is of some receipts. */
export type Found = {
  readonly receipt: string;
  readonly database: string;
  readonly table: string;
  /** Undefined for a row of the table. */
  readonly reason?: QuarantineReason;
};

/** What one transaction writes. */
export type StoreBatch = {
  readonly tables: readonly TableBatch[];
  readonly quarantine: readonly QuarantineRow[];
  /** Events that leave the quarantine: they are among the above again, or settled. */
  readonly released: readonly Receipt[];
  readonly ledger: readonly Entry[];
  readonly skew: readonly SkewCount[];
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

/** A column, as people look at it. */
export type ColumnStatus = {
  readonly column: string;
  readonly type: ColumnType;
  readonly sinceMs: number;
  /** Rows that have a value in it. */
  readonly rows: number;
  /** Values that did not fit it and are in `_rescued_data`. */
  readonly rescued: number;
};

/**
 * A column's value and a row's rescued values, before and after a change of type: JSON text. In a
 * column of the type JSON the new value is a string that holds the text, as in `TableBatch`.
 */
export type Cell = { readonly value: string | undefined; readonly rescued: string | undefined };

/** A change of a column's type. */
export interface Conversion {
  readonly type: ColumnType;
  /** What becomes of a row's cells; called for each row that has one of them. */
  change(cell: Cell): Cell;
  /** After the last row. */
  result(): Retyped;
}

/** What the change of a column's type came to. */
export type Retyped = {
  /** Values that went back from `_rescued_data` into the column. */
  readonly restored: number;
  /** Values of the column that do not fit the new type: they are in `_rescued_data` now. */
  readonly rescued: number;
  /** Values for the column that are in `_rescued_data` now, old and new. */
  readonly left: number;
  readonly exactAsDouble: boolean;
};

/** A key's use of a table, as the ledger has it; tables that nobody has are `*`. */
export type KeyUsage = {
  readonly keyId: string;
  readonly database: string;
  readonly table: string;
  readonly events: number;
  readonly committed: number;
  readonly quarantined: number;
  /** Received in the last 24 hours. */
  readonly lately: number;
  /** The last minute in which one was received. */
  readonly lastAtMs: number;
};

/** By how much the books are wrong; 0 when they are right. */
export type Remainder = { readonly events: number; readonly where: readonly string[] };

/** The quarantine. Whoever changes it does nothing else with the store at the same time. */
export interface ParkedEvents {
  count(): Promise<number>;
  /** Whose events there are, the latest first, so many groups at most. */
  groups(filter: ParkedFilter, groupsMax: number): Promise<readonly ParkedGroup[]>;
  /**
   * The same of whole fingerprints alone, in an order of their own: the next ones after some, and
   * none when there are no more.
   */
  groupsOf(fingerprints: readonly string[], after?: ParkedSource): Promise<readonly ParkedGroup[]>;
  /** How many events a filter means. */
  matching(filter: ParkedFilter): Promise<number>;
  /** The next events in the order of their receipt, about `limits.batchBytesMax` of them. */
  next(filter: ParkedFilter, after?: QuarantineRow): Promise<readonly QuarantineRow[]>;
  /**
   * Removes events for good. @returns how many. @throws as `commit`
   * @param note what else belongs to the transaction.
   */
  drop(filter: ParkedFilter, note?: (events: number) => Promise<void>): Promise<number>;
  /** Removes what is too old or, by reason, too much, the oldest first. @returns how many */
  expire(nowMs: number): Promise<number>;
}

/** The ledger and what goes with it. */
export interface Books {
  /** Whether the ledger, the tables and the quarantine say the same. */
  audit(): Promise<Remainder>;
  /** Merges what was appended, if it is much; older minutes become days. @throws as `commit` */
  compact(nowMs: number, linesMin?: number): Promise<void>;
  keyUsage(nowMs: number): Promise<readonly KeyUsage[]>;
  /** How far the clocks of senders are off, by key and bucket, in the last days. */
  skew(): Promise<readonly Omit<SkewCount, 'day'>[]>;
  /** Replaces the events that `millrace.ledger` shows as waiting: they are in the log only. */
  setWaiting(rows: readonly (Receipt & Account & { readonly events: number })[]): Promise<void>;
}

/** The store's own files at one moment. */
export type Still = {
  readonly files: readonly {
    readonly name: string;
    readonly file: ReadableFile;
    /** What belongs to the moment; the file may grow. */
    readonly bytes: number;
  }[];
  /** Whether that stays so until `end` when others write again; else only until they do. */
  readonly lasts: boolean;
  readonly end: () => Promise<void>;
};

/**
 * Borders between the buckets of a skew, seconds; positive: the sender's clock is ahead. The
 * first and the last are those of the window in which `td_record_time` is believed. A bucket of -1
 * is for what is no time at all.
 */
export const skewBounds = [
  -604_800, -86_400, -3_600, -300, -60, -5, 5, 60, 300, 3_600, 86_400, 259_200,
] as const;
