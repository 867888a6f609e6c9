/**
 * SQL in, rows out.
 *
 * Promises
 *  1. One SELECT at a time per request, in a read-only transaction.
 *  2. Rows are sent as they come; an answer that was cut short ends with an error, not silently.
 *  3. An answer says up to when its tables held everything that was acknowledged; that is never
 *     later than the truth.
 *  4. A query ends by itself when it takes too long, too much memory, or its answer grows too
 *     long; at most `queriesMax` run at once. One that cannot be stopped ends the process.
 *
 * Limits: `queriesMax`, `queryAfterTimeoutMs`, `queryTimeoutMs`, `queryRowsMax`, `queryBytesMax`,
 * `queryMemoryBytesMax`, `storeProcessBytesMax`, `queryStuckMs`, `sqlBytesMax`, `sqlPartsMax`.
 */
export { type Format, formats } from './formats.ts';
export { Queries } from './queries.ts';
export type { Asked, QueryReport, RunningQuery } from './running.ts';
