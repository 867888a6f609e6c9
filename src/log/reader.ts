import { assert, type Disk, fault, isMissing, limits, type ReadableFile } from '../base/index.ts';
import { decodeHeader, type Gap, headerBytes, noRecords, type Records, scan } from './format.ts';
import type { SegmentHeader } from './format.ts';
import { headerFrom } from './salvage.ts';
import { listSegments, segmentPath } from './segments.ts';

/** Bytes of the log that are not as they were written. What they held is lost, or not ours. */
export type Damage = Gap & { readonly reason: string };

export type ReadBatch = {
  readonly records: Records;
  readonly damage: readonly Damage[];
  /** Read on from here. Equals `from` only when nothing was there. */
  readonly next: number;
};

type OpenSegment = {
  readonly base: number;
  /** Undefined when it is damaged, and its frames do not tell it. */
  readonly header: SegmentHeader | undefined;
  readonly file: ReadableFile;
};

const readBytes = 4 * 1024 * 1024;
/** Buffers up to this length are not kept for the next read. */
const littleBytes = 64 * 1024;

/** The reading end of one shard, in another process than the writer. */
export class LogReader {
  readonly #disk: Disk;
  readonly #directory: string;
  #bases: readonly number[] = [];
  #open: OpenSegment | undefined;
  readonly #damaged = new Set<number>();
  readonly #endsBefore = new Map<number, number>();
  readonly #spare: Buffer[] = [];

  private constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  static async open(disk: Disk, directory: string): Promise<LogReader> {
    const reader = new LogReader(disk, directory);
    await reader.list();
    return reader;
  }

  /** Another reader of the same shard. */
  another(): Promise<LogReader> {
    return LogReader.open(this.#disk, this.#directory);
  }

  /** Where the oldest segment begins; 0 when there is none yet. */
  get firstOffset(): number {
    return this.#bases[0] ?? 0;
  }

  /** Segments on disk, as last listed. */
  get segmentCount(): number {
    return this.#bases.length;
  }

  /** The base of the segment that holds an offset, as last listed; undefined before all. */
  baseAt(offset: number): number | undefined {
    return this.#bases.findLast((base) => base <= offset);
  }

  /** The base of the next segment behind an offset, as last listed. */
  baseAfter(offset: number): number | undefined {
    return this.#bases.find((base) => base > offset);
  }

  /**
   * Reads what is durable from `from` on: about `bytesMax` bytes, from one segment.
   *
   * @param from an offset that `next` gave, or `firstOffset`.
   * @param durable the writer's durable offset, not below `from`.
   * @throws LOG_DAMAGED when the segment that holds `from` is not there.
   */
  async read(from: number, durable: number, bytesMax: number): Promise<ReadBatch> {
    assert(from <= durable, 'nothing is read beyond the durable offset');
    if (from === durable) return { records: noRecords, damage: [], next: from };
    const segment = await this.#segmentAt(from);
    const nextBase = this.#bases.find((base) => base > segment.base);
    const dataEnd = nextBase === undefined ? Infinity : await this.endBefore(nextBase);
    if (nextBase !== undefined && from >= dataEnd) {
      return { records: noRecords, damage: [], next: Math.min(nextBase, durable) };
    }
    const end = Math.min(dataEnd, durable);
    if (segment.header === undefined) return this.#damage(segment, from, end, 'no valid header');
    const start = Math.max(from, segment.base + headerBytes);
    if (start >= end) return { records: noRecords, damage: [], next: end };
    return this.#readFrames(segment, segment.header, start, end, bytesMax);
  }

  async #readFrames(
    segment: OpenSegment,
    header: SegmentHeader,
    start: number,
    end: number,
    bytesMax: number,
  ): Promise<ReadBatch> {
    for (let want = Math.min(readBytes, bytesMax); ; want *= 2) {
      const length = Math.min(want, end - start);
      const bytes = this.#buffer(length).subarray(0, length);
      const count = await segment.file.read(bytes, start - segment.base);
      const atEnd = count < bytes.length || start + count === end;
      const found = scan(header, bytes.subarray(0, count), start, atEnd);
      if (found.next === start && !atEnd) continue;
      const damage = found.gaps.map((gap) => ({ ...gap, reason: 'not a valid frame' }));
      const next = atEnd ? end : found.next;
      if (next > found.next) {
        damage.push({ from: found.next, to: next, reason: 'no valid frame to the end' });
      }
      if (damage.length > 0) this.#damaged.add(segment.base);
      return { records: found.records, damage, next };
    }
  }

  /** Takes back the memory of records that nobody looks at any more, for the next ones. */
  release(records: Records): void {
    const { buffer, length } = records.bytes;
    if (length === 0 || this.#spare.length * readBytes >= limits.batchBytesMax) return;
    if (buffer.byteLength === readBytes) this.#spare.push(Buffer.from(buffer));
  }

  #buffer(bytes: number): Buffer {
    if (bytes <= littleBytes || bytes > readBytes) return Buffer.allocUnsafeSlow(bytes);
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(readBytes);
  }

  #damage(segment: OpenSegment, from: number, to: number, reason: string): ReadBatch {
    this.#damaged.add(segment.base);
    return { records: noRecords, damage: [{ from, to, reason }], next: to };
  }

  /**
   * The segments before `offset` that may be dropped, without the damaged ones: they are sealed. A
   * segment is sealed once something behind its successor's base is durable; the successor's name
   * alone says nothing, it may be gone again for want of room.
   */
  sealedBefore(offset: number): readonly number[] {
    return this.#bases.filter((base, index) => {
      return (this.#bases[index + 1] ?? Infinity) < offset && !this.#damaged.has(base);
    });
  }

  /**
   * Removes the sealed segments before `offset`, which the store has committed, the oldest first,
   * as far as they may go. A damaged one is kept under another name.
   * Returns how many were dropped.
   */
  async drop(offset: number, mayGo: (base: number) => boolean = () => true): Promise<number> {
    let count = 0;
    for (; this.#bases.length > 1 && (this.#bases[1] ?? Infinity) < offset; count += 1) {
      const base = this.#bases[0] ?? 0;
      if (!this.#damaged.has(base) && !mayGo(base)) break;
      if (this.#open?.base === base) await this.close();
      const path = segmentPath(this.#directory, base);
      if (this.#damaged.delete(base)) {
        await this.#disk.rename(path, path.replace(/\.seg$/, '.damaged'));
      } else {
        await this.#disk.remove(path);
      }
      this.#bases = this.#bases.slice(1);
      this.#endsBefore.delete(base);
    }
    return count;
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.file.close();
  }

  /** Looks at which segments there are. */
  async list(): Promise<void> {
    this.#bases = await listSegments(this.#disk, this.#directory);
  }

  /** Where the records of the segment before `base` end: `base`, or less after a torn tail. */
  async endBefore(base: number): Promise<number> {
    const known = this.#endsBefore.get(base);
    if (known !== undefined) return known;
    const file = await this.#openIfThere(base);
    // It was being created and there was no room: nothing beyond `base` is durable.
    if (!file) return base;
    try {
      const header = await readHeader(file, base);
      if (header) this.#endsBefore.set(base, header.previousEnd);
      return header?.previousEnd ?? base;
    } finally {
      await file.close();
    }
  }

  async #openIfThere(base: number): Promise<ReadableFile | undefined> {
    try {
      return await this.#disk.openRead(segmentPath(this.#directory, base));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async #segmentAt(offset: number): Promise<OpenSegment> {
    const find = () => this.#bases.findLast((other) => other <= offset);
    let base = find();
    if (base === undefined || base === this.#bases.at(-1)) {
      await this.list();
      base = find();
    }
    if (base === undefined) {
      throw fault('LOG_DAMAGED', { seen: `no segment holds offset ${offset}` });
    }
    if (this.#open?.base === base) return this.#open;
    await this.close();
    const file = await this.#disk.openRead(segmentPath(this.#directory, base));
    let header = await readHeader(file, base);
    if (!header) {
      this.#damaged.add(base);
      header = headerFrom(await wholeOf(file), base, base);
    }
    this.#open = { base, header, file };
    return this.#open;
  }
}

async function wholeOf(file: ReadableFile): Promise<Buffer> {
  const bytes = Buffer.alloc(await file.size());
  return bytes.subarray(0, await file.read(bytes, 0));
}

async function readHeader(file: ReadableFile, base: number): Promise<SegmentHeader | undefined> {
  const bytes = Buffer.alloc(headerBytes);
  const count = await file.read(bytes, 0);
  return decodeHeader(bytes.subarray(0, count), base);
}

assert(readBytes <= limits.batchBytesMax, 'a read fits in a batch');
