/**
 * Rows kept: DuckDB, with tables that grow as events need, and Parquet files for what is older.
 *
 * Promises
 *  1. `commit` makes rows, quarantine, ids, ledger and cursors of a batch visible and durable
 *     together, or nothing of them. So does every other change: of a type, of the quarantine.
 *  2. A table is a view `database.table` over all of its rows; what it is made of (docs/lake.md)
 *     can change without its readers: each sees one moment, and keeps the files that it reads.
 *  3. Users' SQL reads; it cannot write, load, configure or reach a file outside the store.
 *  4. What is erased is nowhere in the store any more, and an erasure that was begun is finished.
 *
 * Invariants
 *  1. Cursors never go back.
 *  2. The schema in memory is what the last committed transaction holds.
 *  3. Every line of a batch holds only columns of its table, each of a type that fits.
 *  4. The counts of `mr.ledger`, summed up by account, are the rows and the quarantine.
 *  5. A row is in one place: `mr.fresh`, its hot or sealed table, or a file that `mr.files` names.
 *     Such a file is on disk with its folder; it never changes, its name is never used again.
 *  6. Nothing but loading meets fresh rows of a table: they are gathered before it is changed.
 *  7. What anybody relies on is committed by `transact` of the one writer: a start cuts off what
 *     stands in the engine's log behind that (decision 0018).
 *
 * Limits: `columnsMax`, `tablesMax`, `idsKeptMs`, `forgetIdsEveryMs`, `--quarantine-bytes`,
 * `--quarantine-days`, `ledgerMinutesKept`, `skewDaysKept`, `hotRowsMax`, `hotBytesMax`,
 * `freshRowsMax`, `archiveDaysMax`, `fileBytesMax`, `filePlainBytesMax`, `dayFilesMax`.
 */
export type { DuckReader, Exact, Parameters, Plain, RowSet } from './duckdb.ts';
export {
  type Account,
  type Cell,
  type Column,
  type ColumnStatus,
  type ColumnType,
  type Conversion,
  type Entry,
  type EventId,
  type Found,
  type KeyUsage,
  type ParkedFilter,
  type ParkedGroup,
  type ParkedSource,
  type QuarantineReason,
  type QuarantineRow,
  type Remainder,
  type Retyped,
  type SeenId,
  skewBounds,
  type SkewCount,
  type Still,
  type StoreBatch,
  type TableBatch,
  type TableSchema,
  type TableStatus,
} from './types.ts';
export type {
  Between,
  Candidate,
  Chore,
  Eraser,
  Erasure,
  Lake,
  LakeFile,
  LakeSize,
  OpenErasure,
  Predicate,
  Retention,
} from './lake-types.ts';
export type { Reload, Stretch } from './reload-types.ts';
export { type CellValue, Rows, type Values } from './rows.ts';
export type { Store } from './seam.ts';
export { openStore } from './open.ts';
export { mendLogBeginning } from './wal.ts';
export { fileName as storeName } from './catalog.ts';
export { lakePaths } from './lake-files.ts';
export { type Mended, mendTables, moveCursor } from './mend.ts';
export { type Rebuilt, rebuildStore } from './rebuild.ts';
export { type InspectedTable, type Inspection, inspectStore } from './inspect.ts';
export { isTornStore, mendTornStore } from './inspect.ts';
