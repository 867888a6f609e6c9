import {
  type Clock,
  type Disk,
  fault,
  isFault,
  isMissing,
  isNoRoom,
  limits,
  type Logger,
} from '../base/index.ts';
import { messageOf, type Metrics, reserveBytes, segmentBytes, sleep } from '../base/index.ts';
import { decodeSubmission, isErased, type Receipt, receivedAtMsAt } from '../event/index.ts';
import { KeptRecords, rawDirectory, RawShard, type RawSegment } from '../log/index.ts';
import type { Shard } from './shard.ts';

export type RawOptions = {
  readonly disk: Disk;
  readonly dataDirectory: string;
  /** How long segments are kept after they were loaded; 0: not at all; undefined: as before. */
  readonly rawDays?: number | undefined;
  /** Free bytes below which the log takes no more; the default depends on the disk. */
  readonly reserveBytes?: number | undefined;
};

type Parts = RawOptions & {
  readonly shards: ReadonlyMap<number, Shard>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly exclusive: <T>(work: () => Promise<T>) => Promise<T>;
};

/** What is kept raw. */
export type RawStatus = {
  readonly bytes: number;
  /** When the oldest record was received that is there; undefined if there is none. */
  readonly sinceMs: number | undefined;
};

const dayMs = 86_400_000;

/**
 * Keeps the log's segments after they were loaded: compresses them beside the loading, one by one,
 * and lets them go when they are too old. While the disk has no room the oldest go before.
 */
export class RawKeeper {
  readonly #parts: Parts;
  readonly #raw = new Map<number, RawShard>();
  readonly #stop = new AbortController();
  /** Whether segments are kept; undefined until that is known. */
  #isOn: boolean | undefined;
  #running: Promise<void> = Promise.resolve();
  /** Resolves when it is known what there is. */
  readonly #opened = Promise.withResolvers<void>();
  /** How many want the log to stay. */
  #holds = 0;
  /** Segments that go although they are not kept: `<shard>/<base>`. */
  readonly #given = new Set<string>();
  #since: { readonly oldest: string; readonly ms: number | undefined } | undefined;
  /** Said once, not every second. */
  #failure = '';

  constructor(parts: Parts) {
    this.#parts = parts;
    parts.metrics.gauge('millrace_raw_bytes', 'Segments kept after they were loaded.', () => {
      return this.status().bytes;
    });
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#opened.resolve();
  }

  status(): RawStatus {
    const bytes = this.#all().reduce((sum, { segment }) => sum + segment.bytes, 0);
    return { bytes, sinceMs: this.#since?.ms };
  }

  /** What is in the log now stays there until the returned function is called. */
  keepLog(): () => void {
    this.#holds += 1;
    return () => {
      this.#holds -= 1;
    };
  }

  /** Removes segments that were loaded and are kept, if they are to be. Between two loads. */
  async drop(): Promise<void> {
    if (this.#holds > 0) return;
    for (const { shard, reader, cursor } of this.#parts.shards.values()) {
      await reader.drop(cursor, (base) => this.#mayGo(shard, base));
    }
  }

  #mayGo(shard: number, base: number): boolean {
    if (!this.#isOn) return this.#isOn === false;
    return this.#raw.get(shard)?.has(base) === true || this.#given.has(`${shard}/${base}`);
  }

  /** What is kept of a shard, to be read; to be closed. */
  async records(shard: number): Promise<KeptRecords> {
    await this.#opened.promise;
    const raw = this.#raw.get(shard);
    if (!raw) throw fault('LOG_CLOSED');
    return KeptRecords.open(raw);
  }

  /** Where a segment begins, of a shard; all in it that is before was received before a time. */
  offsetAt(shard: number, sinceMs: number): number {
    const segments = this.#raw.get(shard)?.segments ?? [];
    const before = segments.findLast(({ keptAtMs }) => keptAtMs <= sinceMs);
    return segments.find(({ base }) => base > (before?.base ?? -1))?.base ?? before?.base ?? 0;
  }

  /**
   * Overwrites the bodies of events with zeros, durably. What is in the log yet is not among them:
   * it is here when its segment was dropped.
   * @returns how many there were
   */
  async erase(receipts: Iterable<Receipt>): Promise<number> {
    await this.#opened.promise;
    let count = 0;
    for (const [shard, meant] of Map.groupBy(receipts, (receipt) => receipt.shard)) {
      const offsets = new Set(meant.map(({ offset }) => offset));
      count +=
        (await this.#raw.get(shard)?.erase(offsets, ({ offset, record }) => {
          return decodeSubmission(record).flatMap(({ at, postback: { body } }) => {
            if (!offsets.has(offset + at) || isErased(body)) return [];
            const from = body.byteOffset - record.byteOffset;
            return [{ from, to: from + body.length }];
          });
        })) ?? 0;
    }
    return count;
  }

  async #run(): Promise<void> {
    const { logger } = this.#parts;
    while (!this.#stop.signal.aborted) {
      try {
        if (this.#isOn === undefined) await this.#open();
        await this.#work();
        this.#failure = '';
      } catch (error) {
        if (isFault(error, 'LOG_CLOSED')) return;
        const seen = messageOf(error);
        const hint = 'the segments stay in the log meanwhile';
        if (seen !== this.#failure) logger.error({ error: seen, hint }, 'keeping raw bytes fails');
        this.#failure = seen;
      }
      await sleep(limits.housekeepingEveryMs, this.#stop.signal);
    }
  }

  async #open(): Promise<void> {
    const { disk, dataDirectory, rawDays, shards, logger } = this.#parts;
    const names = await disk.list(rawDirectory(dataDirectory)).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    const isOn = rawDays === undefined ? names !== undefined : rawDays > 0;
    for (const shard of shards.keys()) {
      this.#raw.set(shard, await RawShard.open(disk, dataDirectory, shard, isOn));
    }
    this.#isOn = isOn;
    this.#opened.resolve();
    const { bytes } = this.status();
    if (isOn || bytes === 0) return;
    const hint = 'they stay: remove the folder raw/ if they are not wanted any more';
    logger.warn({ bytes, hint }, 'raw bytes are there, and no more are kept without --raw-days');
  }

  async #work(): Promise<void> {
    const { shards, rawDays, clock, exclusive } = this.#parts;
    for (const { raw, segment } of this.#all()) {
      const isOld = rawDays ? clock.nowMs() - segment.keptAtMs > rawDays * dayMs : false;
      if (isOld) await raw.remove(segment);
    }
    for (const { shard, reader, cursor } of shards.values()) {
      const sealed = reader.sealedBefore(cursor);
      for (const base of sealed) {
        if (this.#stop.signal.aborted) return;
        if (!this.#mayGo(shard, base)) await this.#keep(shard, base);
      }
      if (sealed.length > 0) await exclusive(() => this.drop());
    }
    if (this.#isOn) await this.#hasRoom();
    await this.#lookBack();
  }

  /** Keeps a segment, or gives it up if there is no room for it. */
  async #keep(shard: number, base: number): Promise<void> {
    const { clock, logger } = this.#parts;
    while (await this.#hasRoom()) {
      try {
        return await this.#raw.get(shard)?.keep(base, clock.nowMs());
      } catch (error) {
        if (!isNoRoom(error)) throw error;
        if (!(await this.#removeOldest())) break;
      }
    }
    logger.error({ shard, base }, 'no room on the disk: a segment is not kept raw');
    this.#given.add(`${shard}/${base}`);
  }

  /** Makes room for a segment above what the log needs; false if there is none to be made. */
  async #hasRoom(): Promise<boolean> {
    const { disk, dataDirectory } = this.#parts;
    for (;;) {
      const { freeBytes, diskBytes } = await disk.room(dataDirectory);
      const reserve = this.#parts.reserveBytes ?? reserveBytes(diskBytes);
      if (freeBytes > reserve + segmentBytes(diskBytes)) return true;
      if (!(await this.#removeOldest())) return false;
    }
  }

  /** Whether there was one. */
  async #removeOldest(): Promise<boolean> {
    const [first, ...others] = this.#all();
    if (!first) return false;
    const { shard, raw, segment } = others.reduce((oldest, one) => {
      return one.segment.keptAtMs < oldest.segment.keptAtMs ? one : oldest;
    }, first);
    const { base, bytes, keptAtMs } = segment;
    const keptAt = new Date(keptAtMs).toISOString();
    const why = 'no room on the disk: the oldest raw bytes go before their time';
    this.#parts.logger.error({ shard, base, bytes, keptAt }, why);
    await raw.remove(segment);
    return true;
  }

  #all(): readonly { readonly shard: number; readonly raw: RawShard; segment: RawSegment }[] {
    return [...this.#raw].flatMap(([shard, raw]) => {
      return raw.segments.map((segment) => ({ shard, raw, segment }));
    });
  }

  /** Sees how far back what is kept reaches. */
  async #lookBack(): Promise<void> {
    const shards = [...this.#parts.shards.values()];
    const firsts = shards.map(({ shard }) => this.#raw.get(shard)?.segments[0]?.base);
    const oldest = firsts.join(' ');
    if (oldest === this.#since?.oldest) return;
    const times: number[] = [];
    for (const shard of shards) {
      const [segment] = this.#raw.get(shard.shard)?.segments ?? [];
      if (segment) times.push(...(await this.#firstAt(shard, segment.base)));
    }
    this.#since = { oldest, ms: times.length > 0 ? Math.min(...times) : undefined };
  }

  /** When the first record from an offset on was received, if there is one. */
  async #firstAt({ shard, cursor }: Shard, offset: number): Promise<readonly number[]> {
    const kept = await this.records(shard);
    try {
      for await (const { records } of kept.read(offset, cursor)) {
        if (records.length > 0) return [receivedAtMsAt(records.bytes, records.startAt(0))];
      }
      return [];
    } finally {
      await kept.close();
    }
  }
}
