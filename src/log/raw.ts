import { join } from 'node:path';
import { assert, type Disk, isMissing, messageOf } from '../base/index.ts';
import { type ReadableFile, readWhole } from '../base/index.ts';
import { decodeHeader, encodeFrame, type Found } from './format.ts';
import { headerBytes, scan, type SegmentHeader } from './format.ts';
import { segmentPath, shardDirectory } from './segments.ts';
import { compressTo, decompressed } from './zstd.ts';

/** A segment of the log as it is kept after it was loaded. */
export type RawSegment = {
  readonly base: number;
  /** When it was put there, ms since the epoch: all of its records were in the store by then. */
  readonly keptAtMs: number;
  /** Compressed. */
  readonly bytes: number;
};

/** A whole segment in memory; without a header if it cannot be read. */
export type Opened = {
  readonly base: number;
  readonly bytes: Buffer;
  readonly header: SegmentHeader | undefined;
};

/** Bytes of a record, from its beginning on: `to` is not among them. */
export type ByteRange = { readonly from: number; readonly to: number };

const readBytes = 1024 * 1024;
const ours = /^(\d{20})-(\d{13})\.seg\.zst$/;

/** Where all raw segments lie below the data directory. */
export function rawDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'raw');
}

/** One shard's segments behind the store's cursor, compressed. Its changes happen one by one. */
export class RawShard {
  /** Where the shard's log is, which goes on where these segments end. */
  readonly logDirectory: string;
  readonly disk: Disk;
  readonly #directory: string;
  #segments: readonly RawSegment[] = [];
  #last: Promise<unknown> = Promise.resolve();
  /** The segment that was opened last: whoever reads on wants it again. */
  #opened: Opened | undefined;

  private constructor(disk: Disk, dataDirectory: string, shard: number) {
    this.disk = disk;
    this.logDirectory = shardDirectory(dataDirectory, shard);
    this.#directory = join(rawDirectory(dataDirectory), String(shard));
  }

  /**
   * Looks at what is kept, and removes what a crash has left half written.
   * @param isOn whether segments are to be kept from now on: the folder is made.
   */
  static async open(
    disk: Disk,
    dataDirectory: string,
    shard: number,
    isOn: boolean,
  ): Promise<RawShard> {
    const raw = new RawShard(disk, dataDirectory, shard);
    if (isOn) await disk.makeDirectory(raw.#directory);
    await raw.#list();
    return raw;
  }

  /** By their bases. */
  get segments(): readonly RawSegment[] {
    return this.#segments;
  }

  has(base: number): boolean {
    return this.#segments.some((segment) => segment.base === base);
  }

  /** Keeps a sealed segment of the log: durable when it resolves. Throws what the disk throws. */
  keep(base: number, nowMs: number): Promise<void> {
    return this.#inTurn(async () => {
      if (this.has(base)) return;
      const file = await this.disk.openRead(segmentPath(this.logDirectory, base));
      try {
        const bytes = await this.#write(nameOf(base, nowMs), piecesOf(file));
        const segment = { base, keptAtMs: nowMs, bytes };
        this.#segments = [...this.#segments, segment].sort((a, b) => a.base - b.base);
      } finally {
        await file.close();
      }
    });
  }

  /** Removes a segment for good. */
  remove({ base, keptAtMs }: RawSegment): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.has(base)) return;
      await this.disk.remove(join(this.#directory, nameOf(base, keptAtMs)));
      this.#segments = this.#segments.filter((segment) => segment.base !== base);
    });
  }

  /**
   * Overwrites parts of records with zeros, durably; their lengths stay, and so do all offsets.
   * @param offsets what lies in a segment that holds one of these is looked at.
   * @param choose which parts of a record.
   * @returns how many parts there were
   */
  erase(
    offsets: Iterable<number>,
    choose: (found: Found) => readonly ByteRange[],
  ): Promise<number> {
    return this.#inTurn(async () => {
      const meant = new Set([...offsets].flatMap((offset) => this.#floor(offset) ?? []));
      let count = 0;
      for (const segment of meant) count += await this.#eraseIn(segment, choose);
      return count;
    });
  }

  async #eraseIn(
    { base, keptAtMs }: RawSegment,
    choose: (found: Found) => readonly ByteRange[],
  ): Promise<number> {
    const { header, bytes } = await this.#read(base);
    if (!header) return 0;
    let count = 0;
    for (const found of recordsOf(header, bytes)) {
      const parts = choose(found);
      if (parts.length === 0) continue;
      const { offset, record } = found;
      for (const { from, to } of parts) {
        assert(from >= 0 && from <= to && to <= record.length, 'a part lies in its record');
        record.fill(0, from, to);
      }
      encodeFrame(header, offset, record, bytes, offset - base);
      count += parts.length;
    }
    if (count === 0) return 0;
    this.#opened = undefined;
    const length = await this.#write(nameOf(base, keptAtMs), [bytes]);
    this.#segments = this.#segments.map((segment) => {
      return segment.base === base ? { ...segment, bytes: length } : segment;
    });
    return count;
  }

  /** Reads a segment whole. Nothing in it may be changed. */
  async segment(base: number): Promise<Opened> {
    if (this.#opened?.base === base) return this.#opened;
    this.#opened = undefined;
    const opened = await this.#read(base);
    this.#opened = opened;
    return opened;
  }

  async #read(base: number): Promise<Opened> {
    const segment = this.#segments.find((one) => one.base === base);
    assert(segment, 'the segment is kept');
    const name = nameOf(base, segment.keptAtMs);
    const compressed = await readWhole(this.disk, join(this.#directory, name));
    const bytes = await decompressed(compressed).catch(() => Buffer.alloc(0));
    return { base, bytes, header: decodeHeader(bytes.subarray(0, headerBytes), base) };
  }

  /** Lets go of the segment that was opened last. */
  rest(): void {
    this.#opened = undefined;
  }

  #floor(offset: number): RawSegment | undefined {
    return this.#segments.findLast(({ base }) => base <= offset);
  }

  /** Writes a file of the folder; the name stands for the old or the new bytes, also in a crash. */
  async #write(
    name: string,
    pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<number> {
    const path = join(this.#directory, name);
    const temporary = `${path}.tmp`;
    let length = 0;
    try {
      const file = await this.disk.openDurable(temporary);
      try {
        await file.truncate(0);
        await compressTo(pieces, async (piece) => {
          await file.write(piece, length);
          length += piece.length;
        });
      } finally {
        await file.close();
      }
      await this.disk.rename(temporary, path);
      await this.disk.syncDirectory(this.#directory);
      return length;
    } catch (error) {
      await this.disk.remove(temporary).catch(() => undefined);
      throw error;
    }
  }

  async #list(): Promise<void> {
    const names = await namesIn(this.disk, this.#directory);
    if (names.length === 0) return;
    for (const name of names) {
      if (name.endsWith('.tmp')) await this.disk.remove(join(this.#directory, name));
    }
    // A name that a killed process has given may not be on disk yet; its segment will be removed.
    await this.disk.syncDirectory(this.#directory);
    const segments: RawSegment[] = [];
    for (const name of names) {
      const [, base, keptAt] = ours.exec(name) ?? [];
      if (base === undefined) continue;
      const file = await this.disk.openRead(join(this.#directory, name));
      const bytes = await file.size();
      await file.close();
      segments.push({ base: parseInt(base, 10), keptAtMs: Number(keptAt), bytes });
    }
    this.#segments = segments.sort((a, b) => a.base - b.base);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}

function nameOf(base: number, keptAtMs: number): string {
  return `${String(base).padStart(20, '0')}-${String(keptAtMs).padStart(13, '0')}.seg.zst`;
}

async function* piecesOf(file: ReadableFile): AsyncGenerator<Buffer> {
  const size = await file.size();
  for (let at = 0; at < size; at += readBytes) {
    const bytes = Buffer.allocUnsafe(Math.min(readBytes, size - at));
    const count = await file.read(bytes, at);
    assert(count === bytes.length, 'a sealed segment does not change');
    yield bytes;
  }
}

function recordsOf(header: SegmentHeader, bytes: Buffer): Iterable<Found> {
  return scan(header, bytes.subarray(headerBytes), header.base + headerBytes, true).records;
}

/** How many segments are kept raw, all shards together. */
export async function rawSegmentsIn(disk: Disk, dataDirectory: string): Promise<number> {
  let count = 0;
  for (const shard of await namesIn(disk, rawDirectory(dataDirectory))) {
    const names = await namesIn(disk, join(rawDirectory(dataDirectory), shard));
    count += names.filter((name) => ours.test(name)).length;
  }
  return count;
}

/** The kept segments of a shard that cannot be read whole, and why. Changes nothing. */
export async function rawDamage(
  disk: Disk,
  dataDirectory: string,
  shard: number,
): Promise<readonly { readonly name: string; readonly why: string }[]> {
  const directory = join(rawDirectory(dataDirectory), String(shard));
  const damaged: { name: string; why: string }[] = [];
  for (const name of await namesIn(disk, directory)) {
    const [, base] = ours.exec(name) ?? [];
    if (base === undefined) continue;
    try {
      const bytes = await decompressed(await readWhole(disk, join(directory, name)));
      const header = decodeHeader(bytes.subarray(0, headerBytes), Number.parseInt(base, 10));
      if (!header) damaged.push({ name, why: 'no valid header' });
    } catch (error) {
      damaged.push({ name, why: messageOf(error) });
    }
  }
  return damaged;
}

async function namesIn(disk: Disk, directory: string): Promise<readonly string[]> {
  try {
    return await disk.list(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
