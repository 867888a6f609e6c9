/**
 * The operator's door: health, metrics, status, flush, queries and operations (`operations.ts`), as
 * JSON over HTTP. The same operations work on a closed data directory.
 *
 * Promises
 *  1. It listens on loopback only, and answers only requests that were addressed to loopback, so
 *     that a page in a browser cannot reach it under another name.
 *  2. `/readyz` is 200 only while every edge has synced lately and its disk has its reserve.
 *  3. `/flush` answers when everything that was acknowledged before is queryable.
 *
 * Limits: `sqlBytesMax`, `flushTimeoutMs`, `syncAgeMsMax`.
 */
export { Admin, type AdminOptions } from './admin.ts';
export type { Workplace } from './operation.ts';
export {
  type ColumnReport,
  completeTo,
  type OperationInput,
  type OperationName,
  type OperationResult,
  operations,
  type QuarantineFilter,
  type ReceiptStatus,
} from './operations.ts';
export type { QueryReport } from '../query/index.ts';
export { type KeyUsage, skewBounds } from '../store/index.ts';
export { readStatus, type Status } from './status.ts';
