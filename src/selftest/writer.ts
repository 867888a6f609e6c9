import {
  closeSync,
  constants,
  fdatasyncSync,
  fsyncSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { Random } from './random.ts';

/*
 * A thread that writes and waits for the disk. Its calls are synchronous: what is measured is the
 * disk, not the event loop.
 */

/** How a write is made durable: `dsync` is how the log does it. */
export type Way = 'dsync' | 'fdatasync' | 'fsync' | 'none';

export type Job = {
  readonly path: string;
  readonly way: Way;
  readonly bytes: number;
  /** Ends after so long, or so many writes. */
  readonly forMs: number;
  readonly writesMax: number;
};

/** How long each write took until it was on disk, ms. */
function writeFor({ path, way, bytes, forMs, writesMax }: Job): Float64Array {
  const dsync = constants.O_DSYNC ?? constants.O_SYNC;
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  const file = openSync(path, way === 'dsync' ? flags | dsync : flags, 0o600);
  const samplesMs: number[] = [];
  try {
    const record = bytesToWrite(bytes);
    const endsAt = performance.now() + forMs;
    for (let position = 0; samplesMs.length < writesMax; position += bytes) {
      record.writeDoubleLE(position, 0);
      const startedAt = performance.now();
      writeSync(file, record, 0, bytes, position);
      if (way === 'fdatasync') fdatasyncSync(file);
      if (way === 'fsync') fsyncSync(file);
      const endedAt = performance.now();
      samplesMs.push(endedAt - startedAt);
      if (endedAt >= endsAt) break;
    }
  } finally {
    closeSync(file);
    rmSync(path);
  }
  return Float64Array.from(samplesMs);
}

/** Bytes that do not shrink, should the disk compress; again after a MiB. */
function bytesToWrite(count: number): Buffer {
  const random = new Random(count);
  const part = Buffer.alloc(Math.min(count, 1024 * 1024));
  for (let at = 0; at < part.length; at += 1) part[at] = random.integer(0, 255);
  return Buffer.alloc(count, part);
}

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
parentPort?.postMessage(writeFor(workerData as Job));
