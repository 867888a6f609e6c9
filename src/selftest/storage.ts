import { mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { fault, messageOf, type Task } from '../base/index.ts';
import { diskFacts, machineFacts } from './machine.ts';
import { type Percentiles, percentilesOf } from './percentiles.ts';
import { type Judged, judge, type Measure, type Measured } from './verdict.ts';
import type { Job } from './writer.ts';

const mib = 1024 * 1024;
/** One event as the log writes it, and a group of 64 of them. */
const recordBytes = 512;
const groupBytes = 64 * recordBytes;
const bulkBytes = 64 * mib;
const writesMax = 200_000;
const writerUrl = new URL(
  import.meta.url.endsWith('.ts') ? './writer.ts' : './writer.js',
  import.meta.url,
);

/** What is measured, the log's own way first. */
const measures: readonly Measure[] = [
  { what: 'one event', way: 'dsync', writers: 1, bytes: recordBytes },
  { what: 'a group of 64 events', way: 'dsync', writers: 1, bytes: groupBytes },
  { what: 'one event, 4 at once', way: 'dsync', writers: 4, bytes: recordBytes },
  { what: 'one event, 16 at once', way: 'dsync', writers: 16, bytes: recordBytes },
  { what: 'one event', way: 'fdatasync', writers: 1, bytes: recordBytes },
  { what: 'one event', way: 'fsync', writers: 1, bytes: recordBytes },
  { what: 'one event, not synced', way: 'none', writers: 1, bytes: recordBytes },
];

export type StorageReport = Judged & {
  readonly machine: ReturnType<typeof machineFacts>;
  readonly disk: Awaited<ReturnType<typeof diskFacts>>;
  readonly measured: readonly Measured[];
  /** Bytes per second of one long write, until it is synced. */
  readonly bulkBytesPerSecond: number;
};

/** Measures the disk below a folder for about so long, in a folder of its own. */
export async function checkStorage(
  directory: string,
  seconds: number,
  { progress }: Task,
): Promise<StorageReport> {
  const own = await ownFolder(directory);
  try {
    const disk = await diskFacts(own);
    const forMs = (seconds * 1000) / (measures.length + 1);
    const measured: Measured[] = [];
    for (const measure of measures) {
      progress({ done: measured.length, total: measures.length + 1, unit: 'measures' });
      measured.push(await measureOne(own, measure, forMs));
    }
    const bulk = await bulkOf(own, forMs);
    const judged = judge({ disk, measured, ...bulk });
    const { bulkBytesPerSecond } = bulk;
    const where = { ...disk, directory };
    return { ...judged, machine: machineFacts(), disk: where, measured, bulkBytesPerSecond };
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

/** How long a synced write of one event takes here. */
export async function syncTimes(directory: string, forMs: number): Promise<Percentiles> {
  const job = { way: 'dsync', bytes: recordBytes, forMs, writesMax } as const;
  return percentilesOf(await write({ ...job, path: join(directory, 'sync-times') }));
}

async function ownFolder(directory: string): Promise<string> {
  try {
    return await mkdtemp(join(directory, 'millrace-storage-check-'));
  } catch (error) {
    throw fault('BAD_USAGE', {
      seen: `no file can be made in ${directory}: ${messageOf(error)}`,
      hint: 'Name a folder on the disk that is meant: millrace storage-check DIR',
    });
  }
}

async function measureOne(own: string, measure: Measure, forMs: number): Promise<Measured> {
  const { way, bytes, writers } = measure;
  const jobs = Array.from({ length: writers }, (_, index) => {
    return write({ path: join(own, `writer-${index}`), way, bytes, forMs, writesMax });
  });
  const samples = (await Promise.all(jobs)).flatMap((some) => [...some]);
  const ms = percentilesOf(samples);
  return { ...measure, ms, perSecond: (1000 * writers) / ms.mean };
}

/** Long writes, each synced at its end; the fastest sync of all that was written counts. */
async function bulkOf(own: string, forMs: number) {
  const job = { way: 'fdatasync', bytes: bulkBytes, forMs, writesMax: 4 } as const;
  const ms = percentilesOf(await write({ ...job, path: join(own, 'bulk') }));
  return { bulkBytesPerSecond: (bulkBytes / ms.mean) * 1000 };
}

async function write(job: Job): Promise<Float64Array> {
  const worker = new Worker(writerUrl, { workerData: job });
  const [samplesMs] = (await once(worker, 'message')) as [Float64Array];
  return samplesMs;
}
