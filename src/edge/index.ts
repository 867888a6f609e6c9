/**
 * HTTP in, acknowledgement out.
 *
 * Promises
 *  1. 200 is written only after the log says that the event is on disk.
 *  2. What is answered otherwise is not stored; only a connection that was cut leaves it open.
 *  3. No input crashes the process, hangs a connection or grows memory without bound.
 *
 * Invariants
 *  1. The edge knows no keys, tables or rows: any key gets the answer that a right one gets.
 *  2. Every refusal is an entry of the error catalogue, as JSON `{"error": "…"}`.
 *  3. Labels of metrics come from closed lists.
 *
 * Limits: `bodyBytesMax`, `headerBytesMax`, `headersMax`, `headersTimeoutMs`, `requestTimeoutMs`,
 * `keepAliveTimeoutMs`, `connectionsMax`, `bodyBytesInFlightMax`.
 */
export { Edge, type EdgeOptions } from './edge.ts';
