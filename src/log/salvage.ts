import { assert, type Disk, limits, readWhole } from '../base/index.ts';
import { decodeHeader, encodeHeader, frameOverheadBytes, headerBytes } from './format.ts';
import { type Records, scan, type SegmentHeader, withoutZeros } from './format.ts';
import { segmentPath } from './segments.ts';

/*
 * A segment that has lost both copies of its header, for example with the first sector of its file.
 * Frames begin with the marker, and their checksums hold the salt: two that follow each other tell
 * both.
 */

/** The header by which most of a segment is frames; undefined if there is none. */
export function headerFrom(
  file: Buffer,
  base: number,
  previousEnd: number,
): SegmentHeader | undefined {
  const bytes = withoutZeros(file);
  for (let at = headerBytes; at + frameOverheadBytes < bytes.length; at += 1) {
    const next = frameAfter(bytes, at);
    if (next === undefined || frameAfter(bytes, next) === undefined) continue;
    const marker = bytes.readUInt32LE(at);
    if (bytes.readUInt32LE(next) !== marker) continue;
    const header = { base, previousEnd, salt: saltOf(bytes, at, next, base + at), marker };
    const { records } = scan(header, bytes.subarray(at), base + at, true);
    if (records.length >= 2 && isMost(records, bytes)) return header;
  }
  return undefined;
}

/** A body may hold what looks like frames, but not most of a segment. */
function isMost(records: Records, bytes: Buffer): boolean {
  let covered = 0;
  for (let index = 0; index < records.length; index += 1) {
    covered += frameOverheadBytes + records.endAt(index) - records.startAt(index);
  }
  return 2 * covered >= bytes.length - headerBytes;
}

/** Where the frame at a place would end. */
function frameAfter(bytes: Buffer, at: number): number | undefined {
  if (at + frameOverheadBytes > bytes.length) return undefined;
  const length = bytes.readUInt32LE(at + 8);
  const end = at + frameOverheadBytes + length;
  return length > 0 && length <= limits.recordBytesMax && end <= bytes.length ? end : undefined;
}

/** The salt with which the checksum of a frame is right: CRC-32 can be run backwards. */
function saltOf(bytes: Buffer, at: number, end: number, offset: number): number {
  let register = ~bytes.readUInt32LE(at + 4) >>> 0;
  for (let index = end - 1; index >= at + 8; index -= 1) {
    const from = backwards[register >>> 24] ?? 0;
    register = (((register ^ (forwards[from] ?? 0)) << 8) | (from ^ bytes.readUInt8(index))) >>> 0;
  }
  return ((~register >>> 0) ^ (offset % 2 ** 32)) >>> 0;
}

/** What a byte does to the register of CRC-32; its highest byte tells which one it was. */
const forwards = Array.from({ length: 256 }, (_, byte) => {
  let register = byte;
  for (let bit = 0; bit < 8; bit += 1) {
    register = (register >>> 1) ^ (register & 1 ? 0xedb88320 : 0);
  }
  return register >>> 0;
});
const backwards: number[] = [];
for (const [byte, value] of forwards.entries()) backwards[value >>> 24] = byte;
assert(backwards.length === 256, 'each highest byte is there once');

/**
 * Writes both copies of a segment's header anew, durably.
 * @returns false when its frames do not tell the header
 */
export async function mendHeader(
  disk: Disk,
  directory: string,
  base: number,
  previousEnd: number,
): Promise<boolean> {
  const path = segmentPath(directory, base);
  const bytes = await readWhole(disk, path);
  const header = decodeHeader(bytes.subarray(0, headerBytes), base);
  const told = header ?? headerFrom(bytes, base, previousEnd);
  if (!told) return false;
  await writeHeader(disk, path, told);
  return true;
}

/**
 * Lets a shard go on behind an offset, where its log ends before what was loaded of it.
 * @param previousEnd where its records end
 */
export async function continueAt(
  disk: Disk,
  directory: string,
  base: number,
  previousEnd: number,
): Promise<void> {
  await disk.makeDirectory(directory);
  await writeHeader(disk, segmentPath(directory, base), { base, previousEnd, salt: 0, marker: 0 });
  await disk.syncDirectory(directory);
}

async function writeHeader(disk: Disk, path: string, header: SegmentHeader): Promise<void> {
  const file = await disk.openDurable(path);
  try {
    await file.write(encodeHeader(header), 0);
  } finally {
    await file.close();
  }
}
