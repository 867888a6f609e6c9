/**
 * What every room stands on, and nothing that knows what a postback is.
 *
 * Promises
 *  1. A fault has one entry in the catalogue (`errors.ts`): code, status, retryable, message, hint.
 *  2. What can grow has its limit in `limits.ts`, with unit, meaning and what happens beyond.
 *  3. `Disk`, `Clock` and `Ids` are the only doors to hardware, time and chance that the core uses,
 *     so a test can put a faulty or a still one in their place.
 */
export { assert } from './assert.ts';
export type { Asked } from './asked.ts';
export { systemClock, type Clock } from './clock.ts';
export {
  type Disk,
  type DurableFile,
  isMissing,
  isNoRoom,
  type Lock,
  nodeDisk,
  type ReadableFile,
  readWhole,
  writeBytes,
  writeFileAtomic,
} from './disk.ts';
export { catalogue, type FaultCode } from './errors.ts';
export { fault, isFault, MillraceError, messageOf } from './fault.ts';
export { hashOf } from './hash.ts';
export { randomIds, type Ids } from './ids.ts';
export { limits, reserveBytes, segmentBytes } from './limits.ts';
export { DirectoryLock } from './lock.ts';
export { createLogger, type Logger } from './logger.ts';
export type { Mark, Watermark } from './mark.ts';
export { mergeMetrics, Metrics, type MetricsSnapshot } from './metrics.ts';
export { crcsAt, crcsOf, damaged, damageIn, type Stretch } from './pieces.ts';
export { sleep } from './sleep.ts';
export { patient, type ProgressReport, type Task } from './task.ts';
