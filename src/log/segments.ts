import { join } from 'node:path';
import { assert, type Disk, fault } from '../base/index.ts';

/** Where a shard lies below the data directory. */
export function shardDirectory(dataDirectory: string, shard: number): string {
  return join(dataDirectory, 'log', String(shard));
}

/** The shards that exist on disk, ascending; the first `count` of them are made if need be. */
export async function shardsIn(
  disk: Disk,
  dataDirectory: string,
  count: number,
): Promise<readonly number[]> {
  for (let shard = 0; shard < count; shard += 1) {
    await disk.makeDirectory(shardDirectory(dataDirectory, shard));
  }
  const names = await disk.list(join(dataDirectory, 'log'));
  const shards = names.filter((name) => /^(0|[1-9]\d{0,3})$/.test(name)).map(Number);
  return shards.sort((a, b) => a - b);
}

export function segmentPath(directory: string, base: number): string {
  assert(Number.isSafeInteger(base) && base >= 0, 'an offset is a safe integer');
  return join(directory, `${String(base).padStart(20, '0')}.seg`);
}

/** The base offsets of the segments in a shard's folder, ascending. */
export async function listSegments(disk: Disk, directory: string): Promise<readonly number[]> {
  const names = await disk.list(directory);
  const bases = names
    .filter((name) => /^\d{20}\.seg$/.test(name))
    .map((name) => parseInt(name, 10));
  return bases.sort((a, b) => a - b);
}

/** A segment, or the part of it that is meant. */
export type SegmentPart = {
  readonly path: string;
  readonly bytes: number;
  /** Whether it is all of a segment that never changes. */
  readonly isSealed: boolean;
};

/**
 * The segments that hold a shard from an offset on, up to its durable offset; at least the one in
 * which that lies, so that whoever goes on begins behind it.
 * @throws LOG_DAMAGED when the segment that holds `from` is not there
 */
export async function segmentsOf(
  disk: Disk,
  directory: string,
  from: number,
  durable: number,
): Promise<readonly SegmentPart[]> {
  const bases = (await listSegments(disk, directory)).filter((base) => base < durable);
  const first = bases.findLastIndex((base) => base <= from);
  if (first === -1 && durable > 0) {
    throw fault('LOG_DAMAGED', { seen: `no segment holds offset ${from}` });
  }
  const parts: SegmentPart[] = [];
  for (const base of bases.slice(Math.max(0, first))) {
    const path = segmentPath(directory, base);
    // Once something is durable behind the next one's base, this one is not written any more.
    const isSealed = base !== bases.at(-1);
    const bytes = isSealed ? await sizeOf(disk, path) : durable - base;
    parts.push({ path, bytes, isSealed });
  }
  return parts;
}

async function sizeOf(disk: Disk, path: string): Promise<number> {
  const file = await disk.openRead(path);
  try {
    return await file.size();
  } finally {
    await file.close();
  }
}
