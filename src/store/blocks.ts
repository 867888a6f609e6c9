import { readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isMissing, nodeDisk, type ReadableFile, writeFileAtomic } from '../base/index.ts';
import type { DuckWriter } from './duckdb.ts';

/*
 * The engine's catalog lies in blocks, in parts. A checkpoint puts new parts into the free places
 * of such a block, and writes it where it is: before the file's header names the new parts, and
 * while the old header names others in the same block. Were the power to go in that write, pieces
 * of the old and of the new block would be there, under a wrong checksum: the store would not open.
 *
 * So these blocks are kept beside the file before each checkpoint, with the headers of then. Where
 * the file still has those headers when it is opened, the checkpoint did not come to its end, and
 * the blocks are put back; what it wrote elsewhere, nothing names.
 */

/** In front of the blocks: the file's own header and two that name the catalog, in turn. */
const headersBytes = 3 * 4096;
/** Sets `default_block_size`. */
export const blockBytes = 16_384;
const idBytes = 8;

/**
 * To be called before a checkpoint; nothing may be written meanwhile.
 * @param path of the file.
 * @param file the same, open.
 */
export async function keepBlocks(
  engine: DuckWriter,
  path: string,
  file: ReadableFile,
): Promise<void> {
  const blocks = await engine.all('SELECT block_id FROM pragma_metadata_info() ORDER BY ALL');
  const kept = Buffer.alloc(headersBytes + blocks.length * (idBytes + blockBytes));
  await file.read(kept.subarray(0, headersBytes), 0);
  let at = headersBytes;
  for (const { block_id: id } of blocks) {
    kept.writeBigUInt64LE(BigInt(id as string | number), at);
    const block = kept.subarray(at + idBytes, at + idBytes + blockBytes);
    await file.read(block, placeOf(Number(id)));
    at += idBytes + blockBytes;
  }
  await writeFileAtomic(keptPath(path), kept);
}

/** Whether a checkpoint has written over blocks and did not come to its end. */
export async function areTornBlocks(path: string): Promise<boolean> {
  const kept = await keptOf(path);
  if (!kept) return false;
  const file = await nodeDisk.openRead(path);
  try {
    for (const { place, bytes } of blocksIn(kept)) {
      const now = Buffer.alloc(blockBytes);
      await file.read(now, place);
      if (!now.equals(bytes)) return true;
    }
    return false;
  } finally {
    await file.close();
  }
}

/**
 * Puts back what a checkpoint that did not come to its end has written over.
 * @param path of the file, which nobody has open.
 */
export async function putBlocksBack(path: string): Promise<void> {
  const kept = await keptOf(path);
  if (!kept) return;
  const file = await nodeDisk.openDurable(path);
  try {
    for (const { place, bytes } of blocksIn(kept)) await file.write(bytes, place);
  } finally {
    await file.close();
  }
  // Once only: the engine may use what is free by these headers for something else.
  await rm(keptPath(path));
  await nodeDisk.syncDirectory(dirname(path));
}

/** What was kept, if the file still has the headers of then. */
async function keptOf(path: string): Promise<Buffer | undefined> {
  try {
    const kept = await readFile(keptPath(path));
    const file = await nodeDisk.openRead(path);
    try {
      const headers = await headersOf(file);
      return headers.equals(kept.subarray(0, headersBytes)) ? kept : undefined;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The headers of the engine's file: each checkpoint makes others. */
export async function headersOf(file: ReadableFile): Promise<Buffer> {
  const headers = Buffer.alloc(headersBytes);
  await file.read(headers, 0);
  return headers;
}

function* blocksIn(kept: Buffer) {
  for (let at = headersBytes; at < kept.length; at += idBytes + blockBytes) {
    const bytes = kept.subarray(at + idBytes, at + idBytes + blockBytes);
    yield { place: placeOf(Number(kept.readBigUInt64LE(at))), bytes };
  }
}

function placeOf(id: number): number {
  return headersBytes + id * blockBytes;
}

function keptPath(path: string): string {
  return `${path}.blocks`;
}
