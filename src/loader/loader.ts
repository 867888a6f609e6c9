import {
  type Clock,
  fault,
  isFault,
  limits,
  type Logger,
  messageOf,
  type Metrics,
} from '../base/index.ts';
import { assert, sleep } from '../base/index.ts';
import type { KeyRing } from '../keys/index.ts';
import type { Damage, LogReader, ReadRecord } from '../log/index.ts';
import type { Store, StoreBatch } from '../store/index.ts';
import { AuthAlarm } from './alarm.ts';
import { Batch } from './batch.ts';
import { explain } from './explain.ts';
import { loaderMetrics } from './metrics.ts';
import type { LoaderStatus } from './status.ts';

export type LoaderOptions = {
  readonly store: Store;
  /** By shard. */
  readonly readers: ReadonlyMap<number, LogReader>;
  readonly keys: KeyRing;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Called when the store can no longer be used: the process must end and start anew. */
  readonly onFatal: (error: unknown) => void;
};

type Shard = {
  readonly shard: number;
  readonly reader: LogReader;
  /** Committed in the store. */
  cursor: number;
  /** On disk, as the edge says. */
  durable: number;
  /** Whether the edge has said so yet. */
  isKnown: boolean;
  /** Nothing is loaded any more: the log is not the one that the cursor belongs to. */
  isHalted: boolean;
};

type Waiter = {
  readonly targets: ReadonlyMap<number, number>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

/** Moves records from the log into the store until it is closed. */
export class Loader {
  readonly #options: LoaderOptions;
  readonly #shards: ReadonlyMap<number, Shard>;
  readonly #metrics: ReturnType<typeof loaderMetrics>;
  readonly #alarm: AuthAlarm;
  readonly #stop = new AbortController();
  #wake: () => void = () => undefined;
  #waiters: Waiter[] = [];
  #behindSinceMs: number | undefined;
  #failures = 0;
  #batchBytes: number = limits.batchBytesMax;
  #running: Promise<void> = Promise.resolve();

  private constructor(options: LoaderOptions) {
    this.#options = options;
    const shards = [...options.readers].map(([shard, reader]): [number, Shard] => {
      const cursor = options.store.cursors.get(shard) ?? reader.firstOffset;
      return [shard, { shard, reader, cursor, durable: cursor, isKnown: false, isHalted: false }];
    });
    this.#shards = new Map(shards);
    this.#alarm = new AuthAlarm(options.logger);
    this.#metrics = loaderMetrics(options.metrics, () => this.status());
  }

  static open(options: LoaderOptions): Loader {
    const loader = new Loader(options);
    loader.#running = loader.#run();
    return loader;
  }

  /**
   * Tells how far a shard is on disk. It may be read up to there from now on.
   * A log that ends before the cursor was replaced or cut. Its new events would be taken for old
   * ones, so nothing of it is loaded until the server is started with the right one.
   */
  durable(shard: number, offset: number): void {
    const known = this.#shards.get(shard);
    assert(known, `shard ${shard} is known`);
    known.isKnown = true;
    if (offset < known.cursor) {
      this.#halt(known, `the log ends at ${offset}, before what was loaded (${known.cursor})`);
    }
    if (known.isHalted) return;
    if (known.durable === known.cursor && offset > known.cursor) {
      this.#behindSinceMs ??= this.#options.clock.nowMs();
    }
    known.durable = Math.max(known.durable, offset);
    this.#wake();
  }

  /**
   * Resolves when all before the given offsets, by shard, is committed.
   * @throws LOG_DAMAGED when a shard cannot be loaded any more
   */
  flush(targets: ReadonlyMap<number, number>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ targets, resolve, reject });
      for (const [shard, offset] of targets) this.durable(shard, offset);
      this.#answerWaiters();
      this.#wake();
    });
  }

  /** What a record of the log would become if it were loaded now. Stores nothing. */
  explain(record: Buffer): ReturnType<typeof explain> {
    const { store, keys } = this.#options;
    return explain(store, keys, record);
  }

  #halt(shard: Shard, why: string): void {
    if (shard.isHalted) return;
    shard.isHalted = true;
    shard.durable = shard.cursor;
    const hint = 'stop the server and put the right log folder back; its events are on disk';
    this.#options.logger.error({ shard: shard.shard, why, hint }, 'a shard is not loaded any more');
    this.#answerWaiters();
  }

  status(): LoaderStatus {
    const shards = [...this.#shards.values()].map(({ shard, reader, cursor, durable }) => ({
      shard,
      waitingBytes: durable - cursor,
      segments: reader.segmentCount,
    }));
    const since = this.#behindSinceMs;
    const lagMs = since === undefined ? 0 : Math.max(0, this.#options.clock.nowMs() - since);
    const isHalted = [...this.#shards.values()].some((shard) => shard.isHalted);
    return { shards, lagMs, failing: this.#failures > 0 || isHalted };
  }

  /** Loads what is durable, then stops. What fails now stays in the log. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake();
    await this.#running;
    for (const { reader } of this.#shards.values()) await reader.close();
  }

  async #run(): Promise<void> {
    for (;;) {
      const stopping = this.#stop.signal.aborted;
      if (!this.#isBehind()) {
        if (stopping) return;
        await this.#rest();
        continue;
      }
      try {
        await this.#loadOnce();
        this.#failures = 0;
        this.#batchBytes = Math.min(limits.batchBytesMax, this.#batchBytes * 2);
      } catch (error) {
        this.#failures += 1;
        // Less at once needs less room; a batch that is too much must not be tried for ever.
        this.#batchBytes = Math.max(limits.batchBytesMin, this.#batchBytes / 2);
        this.#metrics.failures.inc();
        this.#options.logger.error(
          { error: messageOf(error) },
          'loading failed; it is tried again',
        );
        if (isFault(error, 'STORE_INVALID')) return this.#options.onFatal(error);
        if (stopping) return;
        const waitMs = Math.min(limits.loadRetryMsMax, 100 * 2 ** Math.min(this.#failures, 10));
        await sleep(waitMs, this.#stop.signal);
        continue;
      }
      if (this.#waiters.length === 0) await sleep(limits.loadEveryMs, this.#stop.signal);
    }
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.#isBehind() || this.#stop.signal.aborted) resolve();
    });
  }

  #isBehind(): boolean {
    return [...this.#shards.values()].some(({ cursor, durable }) => cursor < durable);
  }

  async #loadOnce(): Promise<void> {
    const { store, keys, logger, clock } = this.#options;
    const batch = new Batch(store, keys);
    const cursors = await this.#read(batch);
    const [bug] = batch.faults;
    if (bug !== undefined) {
      const count = batch.faults.length;
      logger.error({ count, error: messageOf(bug) }, 'a bug: events cannot be loaded; quarantined');
    }
    const startedAt = performance.now();
    const written = await this.#commit(batch, cursors);
    this.#metrics.observe(batch, written, performance.now() - startedAt, clock.nowMs());
    this.#alarm.raise(written.quarantine, clock.nowMs());
    logger.debug({ events: batch.events, quarantined: batch.quarantined.length }, 'loaded');
    this.#behindSinceMs = this.#isBehind() ? batch.oldestReceivedAtMs : undefined;
    this.#answerWaiters();
    for (const { reader, cursor } of this.#shards.values()) await reader.drop(cursor);
  }

  /** Fills a batch from all shards; returns the cursors that belong to it. */
  async #read(batch: Batch): Promise<ReadonlyMap<number, number>> {
    const cursors = new Map<number, number>();
    const parts: { readonly shard: number; readonly records: readonly ReadRecord[] }[] = [];
    const bytesMax = Math.max(limits.batchBytesMin, this.#batchBytes / this.#shards.size);
    for (const { shard, reader, cursor, durable } of this.#shards.values()) {
      let at = cursor;
      while (at < durable && at - cursor < bytesMax) {
        const read = await reader.read(at, durable, bytesMax);
        assert(read.next > at, 'a read goes on');
        this.#reportDamage(shard, read.damage);
        parts.push({ shard, records: read.records });
        at = read.next;
      }
      if (at > cursor) cursors.set(shard, at);
    }
    // Only now: a key that an acknowledged event was sent with is in the file by this time.
    await this.#options.keys.refresh();
    await batch.add(parts);
    return cursors;
  }

  async #commit(batch: Batch, cursors: ReadonlyMap<number, number>): Promise<StoreBatch> {
    const { store, logger } = this.#options;
    batch.isLatest = this.#isLatest(cursors);
    let written: StoreBatch = batch.storeBatch(cursors);
    try {
      await store.commit(written);
    } catch (error) {
      const healed = isFault(error, 'STORE_FAILED') && (await batch.withoutPoison(cursors));
      if (!healed) throw error;
      const count = healed.quarantine.length - written.quarantine.length;
      logger.warn({ count, error: messageOf(error) }, 'events that cannot be loaded: quarantined');
      written = healed;
      await store.commit(healed);
    }
    for (const [shard, next] of cursors) {
      const known = this.#shards.get(shard);
      if (known) known.cursor = next;
    }
    return written;
  }

  /** Whether nothing older than a batch can be waiting in another shard. */
  #isLatest(cursors: ReadonlyMap<number, number>): boolean {
    return [...this.#shards.values()].every(({ shard, cursor, durable, isKnown }) => {
      return isKnown && (cursors.get(shard) ?? cursor) >= durable;
    });
  }

  #reportDamage(shard: number, damage: readonly Damage[]): void {
    for (const { from, to, reason } of damage) {
      this.#metrics.damagedBytes.inc(to - from);
      this.#options.logger.error({ shard, from, to, reason }, 'damage in the log; it is skipped');
    }
  }

  #answerWaiters(): void {
    const waiting: Waiter[] = [];
    for (const waiter of this.#waiters) {
      const shards = [...waiter.targets].map(([shard, offset]) => {
        return { ...this.#shards.get(shard), offset };
      });
      if (shards.some(({ isHalted }) => isHalted)) {
        waiter.reject(fault('LOG_DAMAGED', { seen: 'a shard of the log cannot be loaded' }));
      } else if (shards.every(({ cursor = 0, offset }) => cursor >= offset)) waiter.resolve();
      else waiting.push(waiter);
    }
    this.#waiters = waiting;
  }
}
