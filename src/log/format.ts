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
  return copiesOf(bytes, base)[0];
}

/** How many copies of a header are whole. */
export function headersWhole(bytes: Buffer, base: number): number {
  return copiesOf(bytes, base).length;
}

function copiesOf(bytes: Buffer, base: number): readonly SegmentHeader[] {
  const headers: SegmentHeader[] = [];
  for (const at of [0, headerCopyBytes]) {
    if (bytes.length < at + headerCopyBytes) break;
    const copy = bytes.subarray(at, at + headerCopyBytes);
    if (!copy.subarray(0, 8).equals(magic) || copy.readUInt32LE(8) !== version) continue;
    if (copy.readUInt32LE(36) !== crc32(copy.subarray(0, 36))) continue;
    if (copy.readBigUInt64LE(16) !== BigInt(base)) continue;
    const previousEnd = Number(copy.readBigUInt64LE(24));
    headers.push({ base, previousEnd, salt: copy.readUInt32LE(12), marker: copy.readUInt32LE(32) });
  }
  return headers;
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

/** Frames that are none, for certain, and those that need more bytes to be told. */
const [invalid, incomplete] = [-1, -2];

/** Where the frame at a place ends, or why there is none. */
function frameEnd(segment: SegmentHeader, bytes: Buffer, at: number, offset: number): number {
  const left = bytes.length - at;
  if (left < frameOverheadBytes) return incomplete;
  if (bytes.readUInt32LE(at) !== segment.marker) return invalid;
  const length = bytes.readUInt32LE(at + 8);
  if (length === 0 || length > limits.recordBytesMax) return invalid;
  const end = at + frameOverheadBytes + length;
  if (end > bytes.length) return incomplete;
  const sum = checksum(segment, offset, bytes.subarray(at + 8, end));
  return bytes.readUInt32LE(at + 4) === sum ? end : invalid;
}

/** One record and where its frame stands. `record` is a view into the scanned bytes. */
export type Found = { readonly offset: number; readonly record: Buffer };

/** The records in some bytes of the log, in their order; each is looked at where it stands. */
export class Records implements Iterable<Found> {
  readonly bytes: Buffer;
  readonly #offset: number;
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  /** @param offset where `bytes` stand in the log. */
  constructor(bytes: Buffer, offset: number) {
    this.bytes = bytes;
    this.#offset = offset;
  }

  get length(): number {
    return this.#starts.length;
  }

  /** Adds the record that stands in `bytes` from `start` on, before `end`. */
  add(start: number, end: number): void {
    this.#starts.push(start);
    this.#ends.push(end);
  }

  startAt(index: number): number {
    return this.#starts[index] ?? 0;
  }

  endAt(index: number): number {
    return this.#ends[index] ?? 0;
  }

  /** Where the frame of a record stands in the log. */
  offsetAt(index: number): number {
    return this.#offset + this.startAt(index) - frameOverheadBytes;
  }

  recordAt(index: number): Buffer {
    return this.bytes.subarray(this.startAt(index), this.endAt(index));
  }

  /** Those whose offsets are from `from` on, before `to`. */
  between(from: number, to: number): Records {
    const records = new Records(this.bytes, this.#offset);
    for (let index = 0; index < this.length; index += 1) {
      const offset = this.offsetAt(index);
      if (offset >= from && offset < to) records.add(this.startAt(index), this.endAt(index));
    }
    return records;
  }

  *[Symbol.iterator](): Iterator<Found> {
    for (let index = 0; index < this.length; index += 1) {
      yield { offset: this.offsetAt(index), record: this.recordAt(index) };
    }
  }
}

/** No record. */
export const noRecords = new Records(Buffer.alloc(0), 0);

/** Without the zeros at the end: a segment that was prepared has them behind its records. */
export function withoutZeros(bytes: Buffer): Buffer {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return bytes.subarray(0, end);
}

/** Bytes that are no frame, from offset to offset. */
export type Gap = { readonly from: number; readonly to: number };

export type Scan = {
  readonly records: Records;
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
  const records = new Records(bytes, offset);
  const gaps: Gap[] = [];
  let at = 0;
  while (at < bytes.length) {
    const end = frameEnd(segment, bytes, at, offset + at);
    if (end > 0) {
      records.add(at + frameOverheadBytes, end);
      at = end;
      continue;
    }
    if (end === incomplete && !atEnd) break;
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
    const end = frameEnd(segment, bytes, at, offset + at);
    if (end > 0) return at;
    if (end === incomplete && !atEnd) return undefined;
  }
  return undefined;
}
