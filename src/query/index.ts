/**
 * SQL in, rows out.
 *
 * Promises
 *  1. One SELECT at a time per request, in a read-only transaction.
 *  2. Rows are sent as they come; an answer that was cut short ends with an error, not silently.
 *  3. An answer says up to when its tables held everything that was acknowledged; that is never
 *     later than the truth.
 *  4. A query ends by itself after `queryTimeoutMs`; at most `queriesMax` run at once.
 *
 * Limits: `queriesMax`, `queryAfterTimeoutMs`, `queryTimeoutMs`, `sqlBytesMax`.
 */
export { type Format, formats } from './formats.ts';
export { Queries, type RunningQuery } from './queries.ts';
