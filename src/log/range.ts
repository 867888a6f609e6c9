import { assert, isFault, isMissing, limits } from '../base/index.ts';
import { headerBytes, noRecords, scan } from './format.ts';
import type { RawShard } from './raw.ts';
import { type Damage, LogReader, type ReadBatch } from './reader.ts';

/** What was read at once, and where the records of its segment end, as far as was seen. */
type Part = ReadBatch & { readonly end: number };

/**
 * One shard's records from its first kept one on, read a second time: out of its raw segments,
 * then out of its log. Segments may move from one to the other meanwhile.
 */
export class KeptRecords {
  readonly #raw: RawShard;
  readonly #log: LogReader;

  private constructor(raw: RawShard, log: LogReader) {
    this.#raw = raw;
    this.#log = log;
  }

  static async open(raw: RawShard): Promise<KeptRecords> {
    return new KeptRecords(raw, await LogReader.open(raw.disk, raw.logDirectory));
  }

  /** Where the oldest segment begins that is still there. */
  get firstOffset(): number {
    const bases = [...this.#raw.segments.map(({ base }) => base), this.#log.baseAfter(-1)];
    return Math.min(...bases.flatMap((base) => base ?? []), Number.MAX_SAFE_INTEGER);
  }

  /** Where the segment begins that holds an offset, or the first one behind it. */
  baseAt(offset: number): number {
    const { raw = -1, log = -1 } = this.#floors(offset);
    return Math.max(raw, log) >= 0 ? Math.max(raw, log) : this.firstOffset;
  }

  /**
   * The records whose offsets are from `from` on, before `to`, in their order; what is not there
   * any more is damage. A batch is a raw segment or some MiB of the log.
   * @param from a base, or where a record begins.
   * @param to where one ends, not behind the shard's durable offset.
   */
  async *read(from: number, to: number): AsyncGenerator<ReadBatch> {
    let at = from;
    /** Where records end of what was read last. */
    let end: number | undefined;
    while (at < to) {
      const batch = await this.#readAt(at, to, end);
      assert(batch.next > at, 'a read goes on');
      at = batch.next;
      end = batch.end;
      yield batch;
    }
  }

  async close(): Promise<void> {
    this.#raw.rest();
    await this.#log.close();
  }

  async #readAt(at: number, to: number, end = at): Promise<Part> {
    const { raw, log } = this.#floors(at);
    if (raw === undefined && log === undefined) return this.#gap(at, to, end);
    try {
      if (log === undefined || (raw !== undefined && raw >= log)) {
        return await this.#readRaw(raw ?? 0, at, to, end);
      }
      const damage = at === log ? lostBetween(end, await this.#log.endBefore(log)) : [];
      const read = await this.#log.read(at, to, limits.batchBytesMax);
      return { ...read, damage: [...damage, ...read.damage], end: read.next };
    } catch (error) {
      if (!isGone(error)) throw error;
      // It has moved, or is gone for good.
      this.#raw.rest();
      await this.#log.close();
      await this.#log.list();
      const now = this.#floors(at);
      if (now.raw === raw && now.log === log) throw error;
      return this.#readAt(at, to, end);
    }
  }

  async #readRaw(base: number, at: number, to: number, end: number): Promise<Part> {
    const { header, bytes } = await this.#raw.segment(base);
    if (!header) {
      const next = await this.#next(at, to);
      return {
        records: noRecords,
        damage: [{ from: at, to: next, reason: 'unreadable' }],
        next,
        end: next,
      };
    }
    const found = scan(header, bytes.subarray(headerBytes), base + headerBytes, true);
    if (Math.max(at, base + headerBytes) >= found.next)
      return this.#behind(base, at, to, found.next);
    const damage: Damage[] = at === base ? [...lostBetween(end, header.previousEnd)] : [];
    for (const { from, to: until } of found.gaps) {
      if (until > at && from < to) damage.push({ from, to: until, reason: 'not a valid frame' });
    }
    const records = found.records.between(at, to);
    return { records, damage, next: Math.min(to, found.next), end: found.next };
  }

  /** Behind the last record of a raw segment. */
  async #behind(base: number, at: number, to: number, end: number): Promise<Part> {
    // The log may have begun another one since it was listed.
    await this.#log.list();
    const { raw = -1, log = -1 } = this.#floors(at);
    if (Math.max(raw, log) > base) return this.#readAt(at, to, end);
    return this.#gap(at, to, end);
  }

  /** Nothing up to the next segment, which says whether something was there. */
  async #gap(at: number, to: number, end: number): Promise<Part> {
    const next = await this.#next(at, to);
    return { records: noRecords, damage: next === to ? lostBetween(end, to) : [], next, end };
  }

  /** The next base behind an offset, but not behind `to`. */
  async #next(offset: number, to: number): Promise<number> {
    await this.#log.list();
    const raw = this.#raw.segments.find(({ base }) => base > offset)?.base ?? to;
    return Math.min(raw, this.#log.baseAfter(offset) ?? to, to);
  }

  #floors(offset: number): { readonly raw: number | undefined; readonly log: number | undefined } {
    const raw = this.#raw.segments.findLast(({ base }) => base <= offset)?.base;
    return { raw, log: this.#log.baseAt(offset) };
  }
}

function lostBetween(from: number, to: number): readonly Damage[] {
  return to > from ? [{ from, to, reason: 'not kept' }] : [];
}

/** Whether a segment is not where it was. */
function isGone(error: unknown): boolean {
  return isMissing(error) || isFault(error, 'LOG_DAMAGED');
}
