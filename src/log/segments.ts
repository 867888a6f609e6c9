import { join } from 'node:path';
import { assert, type Disk } from '../base/index.ts';

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

/** All bytes of a file. */
export async function readWhole(disk: Disk, path: string): Promise<Buffer> {
  const file = await disk.openRead(path);
  try {
    const bytes = Buffer.alloc(await file.size());
    const count = await file.read(bytes, 0);
    if (count !== bytes.length) throw new Error(`short read of ${path}`);
    return bytes;
  } finally {
    await file.close();
  }
}
