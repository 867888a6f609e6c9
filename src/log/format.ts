import { crc32 } from 'node:zlib';
import { assert, limits } from '../base/index.ts';

const magic = Buffer.from('MILLRACE', 'latin1');
const version = 1;
const headerCopyBytes = 40;

/** Bytes before a segment's first frame. */
export const headerBytes = 2 * headerCopyBytes;
/** Bytes of a frame before its record. */
export const frameOverheadBytes = 12;

/** What a segment's header says. */
export type SegmentHeader = {
  readonly base: number;
  /** Where the records of the segment before this one end; below `base` after a torn tail. */
  readonly previousEnd: number;
  readonly salt: number;
  readonly marker: number;
};

export function encodeHeader(header: SegmentHeader): Buffer {
  const copy = Buffer.alloc(headerCopyBytes);
  magic.copy(copy, 0);
  copy.writeUInt32LE(version, 8);
  copy.writeUInt32LE(header.salt, 12);
  copy.writeBigUInt64LE(BigInt(header.base), 16);
  copy.writeBigUInt64LE(BigInt(header.previousEnd), 24);
  copy.writeUInt32LE(header.marker, 32);
  copy.writeUInt32LE(crc32(copy.subarray(0, 36)), 36);
  return Buffer.concat([copy, copy]);
}

/** Reads a header from whichever of its copies is whole; undefined if neither is. */
export function decodeHeader(bytes: Buffer, base: number): SegmentHeader | undefined {
  for (const at of [0, headerCopyBytes]) {
    if (bytes.length < at + headerCopyBytes) return undefined;
    const copy = bytes.subarray(at, at + headerCopyBytes);
    if (!copy.subarray(0, 8).equals(magic) || copy.readUInt32LE(8) !== version) continue;
    if (copy.readUInt32LE(36) !== crc32(copy.subarray(0, 36))) continue;
    if (copy.readBigUInt64LE(16) !== BigInt(base)) continue;
    const previousEnd = Number(copy.readBigUInt64LE(24));
    return { base, previousEnd, salt: copy.readUInt32LE(12), marker: copy.readUInt32LE(32) };
  }
  return undefined;
}

/** Writes one frame into `into` at `at`; `offset` is where it will stand in the log. */
export function encodeFrame(
  segment: SegmentHeader,
  offset: number,
  record: Uint8Array,
  into: Buffer,
  at: number,
): void {
  assert(record.length > 0 && record.length <= limits.recordBytesMax, 'a record has its length');
  into.writeUInt32LE(segment.marker, at);
  into.writeUInt32LE(record.length, at + 8);
  into.set(record, at + frameOverheadBytes);
  const end = at + frameOverheadBytes + record.length;
  into.writeUInt32LE(checksum(segment, offset, into.subarray(at + 8, end)), at + 4);
}

function checksum(segment: SegmentHeader, offset: number, bytes: Uint8Array): number {
  return crc32(bytes, (segment.salt ^ (offset % 2 ** 32)) >>> 0);
}

/** A frame at a place: valid, certainly not, or not to be told before more bytes are there. */
type FrameAt =
  | { readonly kind: 'valid'; readonly record: Buffer; readonly end: number }
  | { readonly kind: 'invalid' }
  | { readonly kind: 'incomplete' };

function frameAt(segment: SegmentHeader, bytes: Buffer, at: number, offset: number): FrameAt {
  const left = bytes.length - at;
  if (left < frameOverheadBytes) return { kind: 'incomplete' };
  if (bytes.readUInt32LE(at) !== segment.marker) return { kind: 'invalid' };
  const length = bytes.readUInt32LE(at + 8);
  if (length === 0 || length > limits.recordBytesMax) return { kind: 'invalid' };
  const end = at + frameOverheadBytes + length;
  if (end > bytes.length) return { kind: 'incomplete' };
  if (bytes.readUInt32LE(at + 4) !== checksum(segment, offset, bytes.subarray(at + 8, end))) {
    return { kind: 'invalid' };
  }
  return { kind: 'valid', record: bytes.subarray(at + frameOverheadBytes, end), end };
}

/** One record and where its frame stands. `record` is a view into the scanned bytes. */
export type Found = { readonly offset: number; readonly record: Buffer };
/** Bytes that are no frame, from offset to offset. */
export type Gap = { readonly from: number; readonly to: number };

export type Scan = {
  readonly records: readonly Found[];
  readonly gaps: readonly Gap[];
  /** Offset behind the last valid frame: where to go on, with more bytes than before. */
  readonly next: number;
};

/**
 * Reads the frames in `bytes`, which stand in the log from `offset` on.
 *
 * @param atEnd whether nothing follows `bytes`: what is incomplete then is no frame. If no valid
 *   frame follows it, `next` stays before it and it is no gap: the caller decides what it is.
 */
export function scan(segment: SegmentHeader, bytes: Buffer, offset: number, atEnd: boolean): Scan {
  const records: Found[] = [];
  const gaps: Gap[] = [];
  let at = 0;
  while (at < bytes.length) {
    const frame = frameAt(segment, bytes, at, offset + at);
    if (frame.kind === 'valid') {
      records.push({ offset: offset + at, record: frame.record });
      at = frame.end;
      continue;
    }
    if (frame.kind === 'incomplete' && !atEnd) {
      break;
    }
    const found = nextFrame(segment, bytes, at + 1, offset, atEnd);
    if (found === undefined) break;
    gaps.push({ from: offset + at, to: offset + found });
    at = found;
  }
  return { records, gaps, next: offset + at };
}

/**
 * Looks for the next valid frame by its marker. Undefined if there is none, or if that is not
 * certain before more bytes are there.
 */
function nextFrame(
  segment: SegmentHeader,
  bytes: Buffer,
  from: number,
  offset: number,
  atEnd: boolean,
): number | undefined {
  const marker = Buffer.alloc(4);
  marker.writeUInt32LE(segment.marker);
  for (let at = bytes.indexOf(marker, from); at !== -1; at = bytes.indexOf(marker, at + 1)) {
    const { kind } = frameAt(segment, bytes, at, offset + at);
    if (kind === 'valid') return at;
    if (kind === 'incomplete' && !atEnd) return undefined;
  }
  return undefined;
}
