/**
 * From the log to the store, at its own pace.
 *
 * Promises
 *  1. Every event of the log becomes a row of its table or a row of `millrace.quarantine`, once:
 *     rows, quarantine, ids and cursor of a batch are one transaction. A repeat of an event, known
 *     by its id, is counted instead; another event with its id goes to quarantine.
 *  2. One event never holds up, fails or changes another.
 *  3. A segment is dropped only after the store's transaction holds the cursor behind it.
 *  4. Events in quarantine become rows when their key may write them, or by a replay: each once.
 *  5. Rows move on into files, are merged, go when they are too old, and are erased when asked: one
 *     change of a table at a time, and each goes on after a kill or has not begun.
 *  6. A segment that is to be kept raw is removed when it is kept, or when there is no room for it,
 *     which is said. Raw bytes never hold up loading.
 *  7. A reload changes what the rows of a table say, never which rows there are.
 *  8. The books are checked: what the edges say they synced, what was read, and what is stored.
 *
 * Invariants
 *  1. Nothing is read beyond the durable offset that the edge has reported.
 *  2. A key that was created before an event was acknowledged is known when the event is loaded.
 *  3. A batch that failed is read anew; nothing of it is remembered.
 *  4. The events of a table are taken in the order of each shard; those of two tables in any.
 *
 * Limits: `batchBytesMax`, `loadEveryMs`, `loadEveryMsMax`, `tablesPerRestMs`, `tableEventsMin`,
 * `plansColumnsMax`, `loadRetryMsMax`, `columnsMax`, `tablesMax`, `idsKeptMs`, `alarmLinesMax`,
 * `webhooksMax`, `marksMax`, `waitingBytesMax`, `housekeepingEveryMs`,
 * `auditEveryMs`, `upkeepEveryMs`, `upkeepRetryMs`, `hotRowGroupBytesMax`, `reloadHotRowsMax`,
 * `reloadRoundsMax`, `--archive-minutes`, `--compaction-share`, `--raw-days`.
 */
export { keyReasons } from './alarm.ts';
export type { ErasureReport } from './erasing.ts';
export { Loader, type LoaderOptions } from './loader.ts';
export type { RawStatus } from './raw-keeper.ts';
export type { ColumnChange, ReloadReport } from './reloading.ts';
export type { ReplayReport } from './replay.ts';
export type { LoaderStatus } from './status.ts';
