import { type Disk, readWhole } from '../base/index.ts';
import { decodeHeader, type Gap, headerBytes, scan, withoutZeros } from './format.ts';
import { headerFrom } from './salvage.ts';
import { listSegments, segmentPath } from './segments.ts';

/** What opening a shard found and did. */
export type Recovered = {
  /** Where the next segment begins: behind every byte that was ever written. */
  readonly base: number;
  /** Where the records before it end. */
  readonly previousEnd: number;
  /** Bytes of a torn tail that were cut off, without zeros behind them. */
  readonly tornBytes: number;
  /** Makes the cut, durably; to be called when the next segment's name is on disk. */
  readonly cut: () => Promise<void>;
  /** Damage with valid frames behind it, or a segment that nothing tells the header of. */
  readonly gaps: readonly Gap[];
};

/**
 * Finds a shard's end and syncs what is there. Reads one segment. The caller holds the shard's
 * lock, and the folder exists. The torn tail is cut off by `cut`, after the next segment was
 * created: until then its bytes are what keeps their offsets from being used again.
 */
export async function recoverShard(disk: Disk, directory: string): Promise<Recovered> {
  const bases = await listSegments(disk, directory);
  const last = bases.at(-1);
  if (last === undefined) return { base: 0, previousEnd: 0, tornBytes: 0, gaps: [], cut: nothing };
  const path = segmentPath(directory, last);
  const bytes = await readWhole(disk, path);
  const end = last + bytes.length;
  const header = decodeHeader(bytes.subarray(0, headerBytes), last);
  if (header === undefined && bytes.length <= headerBytes) {
    await disk.remove(path);
    await disk.syncDirectory(directory);
    // The one before it may end with more than its records, as the last one may.
    const before = await recoverShard(disk, directory);
    const isFirst = bases.length === 1;
    const previousEnd = isFirst ? last : before.previousEnd;
    return { ...before, base: Math.max(last, before.base), previousEnd };
  }
  const frames = header ?? headerFrom(bytes, last, last);
  const found = frames && scan(frames, bytes.subarray(headerBytes), last + headerBytes, true);
  const previousEnd = found ? found.next : end;
  // What a killed process left in the page cache is synced before anybody relies on it; so is the
  // segment's own name.
  await resize(disk, path, bytes.length);
  await disk.syncDirectory(directory);
  return {
    base: Math.max(end, previousEnd),
    previousEnd,
    tornBytes: Math.max(0, last + withoutZeros(bytes).length - previousEnd),
    gaps: found ? found.gaps : [{ from: last, to: end }],
    cut: () => resize(disk, path, previousEnd - last),
  };
}

const nothing = () => Promise.resolve();

/** Gives a file a length and syncs all of it. */
async function resize(disk: Disk, path: string, size: number): Promise<void> {
  const file = await disk.openDurable(path);
  try {
    await file.truncate(size);
  } finally {
    await file.close();
  }
}
