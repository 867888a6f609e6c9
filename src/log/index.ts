/**
 * Bytes made durable. The format, the crash cases and the rules are in docs/log-format.md.
 *
 * Promises
 *  1. `append` resolves only after the record is on disk.
 *  2. A record that was refused is never read.
 *  3. Offsets grow and are never used again; a record's offset names it for ever.
 *  4. The reader gives every durable record once, in order, and names what is damaged.
 *  5. A segment that is to be kept raw is removed when its compressed form is on disk, not before.
 *
 * Invariants
 *  1. One process writes a shard (it holds the shard's lock).
 *  2. Nothing is read beyond the durable offset that the reader was told.
 *  3. A segment is written by one process life; sealed segments do not change.
 *  4. A failed read is never an empty log; a failed sync is never tried again.
 *  5. Zeros behind the records of the last segment mean nothing: it was prepared.
 *  6. Nothing is written to a segment once its successor was begun.
 *
 * Limits: `recordBytesMax`, `groupBytesMax`, `pendingBytesMax`, `pendingMsMax`, `segmentBytes`,
 * `preparedFromBytes` and the reserve.
 * Records are opaque here: this room does not know what an event is.
 */
export { Log, type LogOptions, type Waiter } from './log.ts';
export type { Found, Records } from './format.ts';
export { IdleShards } from './idle.ts';
export { type Inspected, LogInspector } from './inspect.ts';
export { KeptRecords } from './range.ts';
export { type ByteRange, rawDirectory, RawShard, type RawSegment } from './raw.ts';
export { rawDamage, rawSegmentsIn } from './raw.ts';
export { type Damage, LogReader, type ReadBatch } from './reader.ts';
export type { Recovered } from './recover.ts';
export { continueAt, mendHeader } from './salvage.ts';
export { type SegmentPart, segmentPath, segmentsOf, shardDirectory, shardsIn } from './segments.ts';
export { openShard, type OpenShard, type ShardOptions } from './shard.ts';
