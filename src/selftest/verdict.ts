import type { DiskFacts } from './machine.ts';
import type { Percentiles } from './percentiles.ts';
import type { Way } from './writer.ts';

/** Writes of one kind. */
export type Measure = {
  readonly what: string;
  readonly way: Way;
  readonly writers: number;
  readonly bytes: number;
};

export type Measured = Measure & { readonly ms: Percentiles; readonly perSecond: number };

/** What to think of a disk. */
export type Judged = {
  readonly verdict: Verdict;
  readonly means: string;
  readonly advice: string;
  /** Signs that a sync does not wait for the medium. */
  readonly suspicious: readonly string[];
  readonly notes: readonly string[];
  /** What group commit makes of it: events a second of one sender, and of many. */
  readonly eventsPerSecond: { readonly oneSender: number; readonly groupsOf64: number };
};
export type Verdict = 'excellent' | 'good' | 'slow' | 'unfit';

/** Times of one synced write, ms: the first band that holds it is its own. */
export const bands = [
  {
    verdict: 'excellent',
    p50: 1,
    p99: 10,
    means: 'the processor is the limit, not the disk',
    advice: 'Put the data here.',
  },
  {
    verdict: 'good',
    p50: 5,
    p99: 50,
    means: 'a 200 takes some milliseconds',
    advice: 'Put the data here; more senders at once share a sync.',
  },
  {
    verdict: 'slow',
    p50: 30,
    p99: 500,
    means: 'a 200 takes long; many senders still share a sync',
    advice:
      'It keeps the promise slowly: an SSD with protection against power loss would be better.',
  },
  {
    verdict: 'unfit',
    p50: Infinity,
    p99: Infinity,
    means: 'senders will time out',
    advice: 'Take another disk, or measure again when nobody else uses this one.',
  },
] as const;

const memory = {
  verdict: 'unfit',
  means: 'this is memory: a power cut takes all of it',
  advice: 'Name a folder that is on a disk: millrace serve --data DIR',
} as const;
const distrust = 'Find out what answers for the disk before you trust it with a 200.';

const inMemory = new Set(['tmpfs', 'ramfs', 'devtmpfs']);
const elsewhere = /^(nfs|cifs|smb|fuse|9p|virtiofs|ceph|glusterfs|afs|lustre)/;
/** No medium takes less to say that a write is safe, beyond what the write itself takes. */
const syncMsMin = 0.008;
/** Half a turn of a fast disk is 2 ms. */
const turnMsMin = 1.5;
/** No single medium writes faster. */
const bytesPerSecondMax = 16e9;

type Seen = {
  readonly disk: DiskFacts;
  readonly measured: readonly Measured[];
  readonly bulkBytesPerSecond: number;
};

/** Judges a disk by its figures. Pure. */
export function judge({ disk, measured, bulkBytesPerSecond }: Seen): Judged {
  const [one, group] = measured;
  const plain = measured.find(({ way }) => way === 'none');
  const { p50 = Infinity, p99 = Infinity } = one?.ms ?? {};
  const found = bands.find((band) => p50 <= band.p50 && p99 <= band.p99);
  const band = inMemory.has(disk.fileSystem) ? memory : (found ?? bands[3]);
  const { verdict, means } = band;
  const suspicious = suspicionsOf(disk, p50, plain?.ms.p50 ?? 0, bulkBytesPerSecond);
  const eventsPerSecond = {
    oneSender: Math.round(one?.perSecond ?? 0),
    groupsOf64: Math.round(64 * (group?.perSecond ?? 0)),
  };
  const advice = suspicious.length > 0 ? distrust : band.advice;
  return { verdict, means, advice, suspicious, notes: notesOf(disk), eventsPerSecond };
}

function suspicionsOf(
  { fileSystem, mountOptions, isRotating }: DiskFacts,
  syncedMs: number,
  plainMs: number,
  bulkBytesPerSecond: number,
): readonly string[] {
  const found: string[] = [];
  if (inMemory.has(fileSystem)) return found;
  const barrier = mountOptions.find((option) => /^(nobarrier|barrier=0)$/.test(option));
  if (barrier) found.push(`it is mounted with ${barrier}: its cache is never flushed`);
  if (syncedMs - plainMs < syncMsMin) {
    const [synced, plain] = [syncedMs, plainMs].map((ms) => `${(ms * 1000).toFixed(1)} µs`);
    found.push(`a synced write takes ${synced}, any other ${plain}: nothing seems to be awaited`);
  }
  if (isRotating && syncedMs < turnMsMin) {
    const seen = `${syncedMs.toFixed(2)} ms`;
    found.push(`it turns, and a synced write takes ${seen}: a cache answers (has it a battery?)`);
  }
  if (bulkBytesPerSecond > bytesPerSecondMax) {
    const rate = `${(bulkBytesPerSecond / 1e9).toFixed(0)} GB/s`;
    found.push(`64 MiB were synced at ${rate}: faster than any medium writes`);
  }
  return found;
}

function notesOf({ fileSystem, writeCache, model }: DiskFacts): readonly string[] {
  const notes: string[] = [];
  if (fileSystem === 'overlay') {
    notes.push('This is the layer of a container and goes with it: put the data on a volume.');
  }
  if (elsewhere.test(fileSystem)) {
    notes.push(`${fileSystem}: another machine or program says when a write is safe. Ask it.`);
  }
  if (writeCache === 'write back') {
    notes.push('The device has a cache that the system flushes with each sync.');
  }
  if (model === '' && !inMemory.has(fileSystem)) {
    notes.push('The device does not say what it is: most likely a host stands between.');
  }
  return notes;
}

/** What no program can find out. */
export const unseen =
  'Not seen from here: a drive, controller or host that says it has flushed, and has not.\n' +
  'Only pulling the plug shows that, or the word of whoever runs it (a cache with a battery;\n' +
  'for a virtual disk: no cache mode "unsafe").';
