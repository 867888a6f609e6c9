import type { Stretch } from '../base/index.ts';
import type { TableSchema } from './types.ts';

/* The files of tables, as seen from outside. */

/** A Parquet file with rows of one table and one day. It never changes. */
export type LakeFile = {
  /** 16 hexadecimal digits, never used again. */
  readonly name: string;
  /** `YYYY-MM-DD`, UTC; `__HIVE_DEFAULT_PARTITION__` for rows of rare days together. */
  readonly day: string;
  readonly rows: number;
  readonly bytes: number;
  /** Of its values as they are in memory, about; 0 if an earlier version has written it. */
  readonly plainBytes: number;
  /** UNIX seconds of the first and the last row. */
  readonly timeMin: number;
  readonly timeMax: number;
  readonly receiptMin: bigint;
  readonly receiptMax: bigint;
  /** Checksums of its pieces; none if an earlier version has written it. */
  readonly crcs: readonly number[];
};

/** Runs work while nothing else is written: between two loads. */
export type Between = <T>(work: () => Promise<T>) => Promise<T>;

/** Something to do in the lake. */
export type Chore = { readonly database: string; readonly table: string } & (
  | { readonly kind: 'archive' }
  | { readonly kind: 'compact'; readonly files: readonly LakeFile[] }
  | { readonly kind: 'expire'; readonly before: number }
);

/** How long the rows of a table, or of all tables of a database (`*`), are kept. */
export type Retention = {
  readonly database: string;
  readonly table: string;
  readonly seconds: number;
};

/** What there is of a table, or of all. */
export type LakeSize = {
  /** Rows that are not in files, about. */
  readonly hotRows: number;
  readonly files: number;
  readonly bytes: number;
};

/**
 * The Parquet files. One of its changes at a time, and none while a table is changed otherwise;
 * what it writes to the store, it writes `between` two loads.
 * @throws as `commit`; what was begun is undone, or goes on by itself at the next call
 */
export interface Lake {
  /** The folder of all files. */
  readonly directory: string;
  /** Files that the catalog names and that are not there, as found at the start. */
  readonly missing: readonly string[];
  /** Files that the catalog does not name: they were moved to `.orphans/` at the start. */
  readonly setAside: number;
  readonly retentions: readonly Retention[];
  /**
   * The most urgent thing to do.
   * @param archiveAgeMs how old hot rows may be.
   * @param mayBe whether a table may be chosen.
   */
  due(
    nowMs: number,
    archiveAgeMs: number,
    mayBe?: (table: TableSchema) => boolean,
  ): Chore | undefined;
  readonly size: LakeSize;
  /** Whether a table has more hot than is good: nothing should come before it was archived. */
  readonly isFull: boolean;
  /** Once, for `due` and `isFull`: looks how long the rows are that were hot at the start. */
  weigh(): Promise<void>;
  /** All that the catalog names; paths are below the folder. */
  readonly files: readonly (Pick<LakeFile, 'bytes' | 'crcs'> & { readonly path: string })[];
  /**
   * Takes a damaged or missing file out of its table, all but the rows that lie where it is whole.
   * What is lost is counted as dropped. The file is removed.
   * @param path below the folder. @param damage bytes that are not as they were
   */
  salvage(
    path: string,
    damage: readonly Stretch[],
    between: Between,
  ): Promise<{ readonly kept: number; readonly lost: number }>;
  /** Removes hot rows that are in files, by receipt. @returns how many; they count as repeats */
  dropRepeats(between: Between): Promise<number>;
  /** Moves all rows that are hot now to files. @returns how many rows */
  archive(database: string, table: string, between: Between): Promise<number>;
  /** Makes one file of some of the same day. */
  compact(
    database: string,
    table: string,
    files: readonly LakeFile[],
    between: Between,
  ): Promise<void>;
  /** Removes rows whose `time` is before a second; up to a day later in files. @returns how many */
  expire(database: string, table: string, before: number, between: Between): Promise<number>;
  /** Sets or, without seconds, ends a retention. */
  retain(database: string, table: string, seconds: number | undefined): Promise<void>;
  /** Files that are taken out of the catalog stay on disk until it is called. */
  lease(): () => void;
}

/** A condition on the rows of a table. */
export type Predicate = {
  /** As it was given. */
  readonly text: string;
  /** One expression, written by the engine. */
  readonly sql: string;
  /** What it names, lowered. */
  readonly names: readonly string[];
};

/** An event as a predicate sees it: texts by name; nulls are left out. */
export type Candidate = {
  /** As a number. */
  readonly receipt: string;
  readonly values: ReadonlyMap<string, string>;
};

/** How many rows are meant, by place. */
export type Erasure = { readonly hot: number; readonly files: number };

/** An erasure that is not finished. */
export type OpenErasure = {
  readonly id: number;
  readonly database: string;
  readonly table: string;
  readonly where: string;
  /** Whether only the log is left. */
  readonly areRowsGone: boolean;
  /** By shard: what lies before this offset in the log may hold what was erased. */
  readonly until: ReadonlyMap<number, number>;
};

/**
 * Removal of rows for good, with a journal: what was begun is finished, whatever happens.
 * What writes is called between two loads. @throws as `commit`
 */
export interface Eraser {
  readonly open: readonly OpenErasure[];
  /** @throws BAD_PREDICATE */
  predicate(database: string, table: string, text: string): Promise<Predicate>;
  /** What would be erased. */
  count(database: string, table: string, predicate: Predicate): Promise<Erasure>;
  /** @returns the number of the erasure */
  begin(
    database: string,
    table: string,
    where: string,
    until: ReadonlyMap<number, number>,
  ): Promise<number>;
  /** Removes rows, rescued values included; each file is a step of its own. */
  erase(
    id: number,
    database: string,
    table: string,
    predicate: Predicate,
    between: Between,
    progress: (files: number, total: number) => void,
  ): Promise<void>;
  /** Receipts of those for which a predicate holds. */
  matches(
    database: string,
    table: string,
    predicate: Predicate,
    candidates: readonly Candidate[],
  ): Promise<readonly bigint[]>;
  /** As part of an open transaction. */
  note(id: number, place: 'quarantine', events: number): Promise<void>;
  rowsGone(id: number): Promise<void>;
  finish(id: number): Promise<void>;
}
