import { type Asked, type Clock, fault, isFault, limits, type Logger } from '../base/index.ts';
import { assert, messageOf, type Metrics, patient, sleep } from '../base/index.ts';
import type { Mark, Watermark } from '../base/index.ts';
import { receiptText } from '../event/index.ts';
import type { KeyRing } from '../keys/index.ts';
import type { Damage, LogReader } from '../log/index.ts';
import type { ColumnType, Found, ParkedFilter, Retyped, Store } from '../store/index.ts';
import type { QuarantineRow, StoreBatch } from '../store/index.ts';
import { AuthAlarm } from './alarm.ts';
import { Archivist } from './archivist.ts';
import { Batch } from './batch.ts';
import { Erasing } from './erasing.ts';
import { explain } from './explain.ts';
import type { Part } from './group.ts';
import { Keeper } from './keeper.ts';
import { loaderMetrics } from './metrics.ts';
import { restMs } from './pace.ts';
import { Plans } from './plans.ts';
import { RawKeeper, type RawOptions } from './raw-keeper.ts';
import { type ReloadAsked, Reloading, type ReloadReport } from './reloading.ts';
import { emptyReport, type ReplayReport, reportInto } from './replay.ts';
import { Retyping } from './retyping.ts';
import { cursorOf, type Position, Shard } from './shard.ts';
import type { LoaderStatus } from './status.ts';
import { Waiters } from './waiters.ts';
import { waitingIn } from './waiting.ts';
import { Webhook } from './webhook.ts';

export type LoaderOptions = RawOptions & {
  readonly store: Store;
  /** By shard. */
  readonly readers: ReadonlyMap<number, LogReader>;
  readonly keys: KeyRing;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Where alarms are posted to. */
  readonly alarmWebhook?: string | undefined;
  /** How old hot rows may be before they are moved to files; undefined: until somebody asks. */
  readonly archiveMinutes?: number | undefined;
  /** Percent of the time that compaction may take. */
  readonly compactionShare?: number | undefined;
  /** Called when the store can no longer be used: the process must end and start anew. */
  readonly onFatal: (error: unknown) => void;
};

/** Moves records from the log into the store until it is closed. */
export class Loader {
  readonly #options: LoaderOptions;
  readonly #shards: ReadonlyMap<number, Shard>;
  readonly #metrics: ReturnType<typeof loaderMetrics>;
  readonly #alarm: AuthAlarm;
  readonly #keeper: Keeper;
  /** Whoever changes a table otherwise than by loading, does it here. */
  readonly archivist: Archivist;
  readonly erasing: Erasing;
  readonly raw: RawKeeper;
  readonly #waiters = new Waiters();
  readonly #plans = new Plans();
  readonly #stop = new AbortController();
  #wake: () => void = () => undefined;
  readonly #jobs: (() => Promise<void>)[] = [];
  #behindSinceMs: number | undefined;
  #failures = 0;
  #batchBytes: number = limits.batchBytesMax;
  #running: Promise<void> = Promise.resolve();
  #showing: Promise<void> = Promise.resolve();
  #isClosing = false;

  private constructor(options: LoaderOptions) {
    this.#options = options;
    const { store, logger } = options;
    const shards = [...options.readers].map(([shard, reader]): [number, Shard] => {
      return [shard, new Shard(shard, reader, cursorOf(store, shard, reader))];
    });
    this.#shards = new Map(shards);
    const webhook = new Webhook(options.alarmWebhook, logger);
    this.#alarm = new AuthAlarm(logger, webhook);
    this.#metrics = loaderMetrics(options.metrics, () => this.status());
    const exclusive = <T>(work: () => Promise<T>) => this.exclusive(work);
    this.archivist = new Archivist({
      ...options,
      archiveMinutes: options.archiveMinutes,
      compactionShare: options.compactionShare ?? 100,
      between: exclusive,
      also: () => this.erasing.goOn(),
    });
    this.raw = new RawKeeper({ ...options, shards: this.#shards, exclusive });
    const { archivist, raw } = this;
    this.erasing = new Erasing({ store, archivist, raw, shards: [...this.#shards.values()] });
    this.#keeper = new Keeper({ ...options, webhook, loader: this, missing: () => this.#missing });
  }

  static open(options: LoaderOptions): Loader {
    const loader = new Loader(options);
    loader.#running = loader.#run();
    loader.#keeper.start();
    loader.archivist.start();
    loader.raw.start();
    return loader;
  }

  /**
   * Tells how far a shard is on disk. It may be read up to there from now on.
   * A log that ends before the cursor was replaced or cut. Its new events would be taken for old
   * ones, so nothing of it is loaded until the server is started with the right one.
   */
  durable(shard: number, mark: Mark): void {
    const known = this.#shards.get(shard);
    assert(known, `shard ${shard} is known`);
    const wasBehind = known.cursor < known.durable;
    if (!known.hear(mark)) {
      const why = `the log ends at ${mark.offset}, before what was loaded (${known.cursor})`;
      this.#halt(known, why);
    }
    const { firstOffset } = known.reader;
    if (firstOffset > known.cursor) {
      this.#halt(known, `the log begins at ${firstOffset}, behind what was loaded`);
    }
    if (!wasBehind && known.cursor < known.durable) {
      this.#behindSinceMs ??= this.#options.clock.nowMs();
    }
    this.#wake();
  }

  /**
   * Resolves when all before the given marks, by shard, is committed.
   * @throws LOG_DAMAGED when a shard cannot be loaded any more
   */
  flush(marks: ReadonlyMap<number, Mark>): Promise<void> {
    for (const [shard, mark] of marks) this.durable(shard, mark);
    const targets = new Map([...marks].map(([shard, { offset }]) => [shard, offset]));
    return this.#look(this.#waiters.flush(targets));
  }

  /** Whether all before an offset of a shard is in the store, within some time. */
  waitFor(shard: number, offset: number, waitMs: number): Promise<boolean> {
    return this.#look(this.#waiters.waitFor(shard, offset, waitMs));
  }

  #look<T>(waiting: Promise<T>): Promise<T> {
    this.#answerWaiters();
    this.#wake();
    return waiting;
  }

  /**
   * Runs work on the store between two loads: nothing else is written meanwhile.
   * @throws what the work throws; LOG_CLOSED when the loader ends before
   */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#isClosing) return reject(fault('LOG_CLOSED'));
      const fail = (error: unknown) => {
        reject(error);
        if (isFault(error, 'STORE_INVALID')) this.#options.onFatal(error);
      };
      this.#jobs.push(() => work().then(resolve, fail));
      this.#wake();
    });
  }

  /** Answers an edge. */
  async answer(asked: Asked, shard: number): Promise<unknown> {
    const { store, keys } = this.#options;
    // What a record of the log would become if it were loaded now. Stores nothing.
    if (asked.kind === 'explain') return explain(store, keys, Buffer.from(asked.record, 'base64'));
    const { from, to, tables, waitMs } = asked;
    if (!(await this.waitFor(shard, to, waitMs))) return undefined;
    const found = await store.find(shard, from, to, tables);
    const reasons = new Set(found.flatMap(({ reason }) => reason ?? []));
    return reasons.size === 0 ? 'queryable' : `quarantined; reason=${[...reasons].join(',')}`;
  }

  /** Takes events out of quarantine and loads them as if they came now; or only says what then. */
  async replay(filter: ParkedFilter, isDry: boolean, task = patient): Promise<ReplayReport> {
    const report = emptyReport();
    const total = await this.#options.store.parked.matching(filter);
    for (let after: QuarantineRow | undefined; ; ) {
      const last = await this.exclusive(() => this.#replayNext(filter, isDry, report, after));
      task.progress({ done: report.events, total, unit: 'events' });
      if (!last || task.signal.aborted) return report;
      after = last;
      // Events that come now are loaded in between.
      await sleep(0);
    }
  }

  async #replayNext(
    filter: ParkedFilter,
    isDry: boolean,
    report: ReplayReport,
    after: QuarantineRow | undefined,
  ): Promise<QuarantineRow | undefined> {
    const { store, keys, clock } = this.#options;
    const rows = await store.parked.next(filter, after);
    if (rows.length === 0) return undefined;
    await keys.refresh();
    const batch = new Batch(store, keys, clock.nowMs());
    await batch.addParked(rows);
    const nothing = new Map<number, number>();
    const written = isDry
      ? ((await batch.withoutPoison(nothing)) ?? batch.storeBatch(nothing))
      : await this.#commit(batch, nothing);
    reportInto(report, batch, written);
    if (!isDry) this.#metrics.released(written.released.length - written.quarantine.length);
    return rows.at(-1);
  }

  /** Gives a column another type, and puts the rescued values that fit it into it. */
  async retype(
    database: string,
    table: string,
    column: string,
    type: ColumnType,
  ): Promise<Retyped> {
    const { store } = this.#options;
    return this.archivist.alone(async (between) => {
      const retyping = new Retyping(column, type);
      await store.retype(database, table, column, retyping, between);
      return retyping.result();
    });
  }

  /** Derives a table anew from the bytes of its events: see `Reloading`. */
  async reload(asked: ReloadAsked, task = patient): Promise<ReloadReport> {
    const { store } = this.#options;
    const signal = AbortSignal.any([task.signal, this.archivist.stopping]);
    return this.archivist.alone((between) => {
      const parts = { store, raw: this.raw, shards: [...this.#shards.values()] };
      return new Reloading(parts, asked, { ...task, signal }).run(between);
    });
  }

  /**
   * Removes a table and its rows. What was acknowledged for it so far and is not loaded yet will
   * go to quarantine.
   * @param marks of the shards that are being written.
   */
  async dropTable(
    database: string,
    table: string,
    marks: ReadonlyMap<number, Mark>,
  ): Promise<void> {
    for (const [shard, mark] of marks) this.durable(shard, mark);
    const before = new Map(
      [...this.#shards.values()].map(({ shard, durable }) => [shard, durable]),
    );
    await this.archivist.alone((between) => {
      return between(() => this.#options.store.dropTable(database, table, before));
    });
  }

  /** Whether an edge has said that an offset of its shard is on disk. */
  hasHeardOf(shard: number, offset: number): boolean {
    return offset < (this.#shards.get(shard)?.durable ?? Infinity);
  }

  /** What became of the receipts of a shard from `from` on, before `to`. */
  async find(
    shard: number,
    from: number,
    to: number,
  ): Promise<{ readonly isWaiting: boolean; readonly found: readonly Found[] }> {
    const known = this.#shards.get(shard);
    const isWaiting = known !== undefined && to > known.cursor && from < known.durable;
    return { isWaiting, found: await this.#options.store.find(shard, from, to) };
  }

  /** Shows in `millrace.ledger` what waits in the log now. */
  async showWaiting(): Promise<void> {
    const { store, keys } = this.#options;
    const shown = this.#showing.then(async () => {
      await store.books.setWaiting(await waitingIn([...this.#shards.values()], keys, store));
    });
    this.#showing = shown.catch(() => undefined);
    await shown;
  }

  #halt(shard: Shard, why: string): void {
    if (shard.isHalted) return;
    shard.isHalted = true;
    const hint = 'stop the server and put the right log folder back, or see: millrace fsck';
    this.#options.logger.error({ shard: shard.shard, why, hint }, 'a shard is not loaded any more');
    this.#answerWaiters();
  }

  status(): LoaderStatus {
    const all = [...this.#shards.values()];
    const shards = all.map(({ shard, reader, cursor, durable }) => {
      return { shard, waitingBytes: durable - cursor, segments: reader.segmentCount };
    });
    const since = this.#behindSinceMs;
    const lagMs = since === undefined ? 0 : Math.max(0, this.#options.clock.nowMs() - since);
    const isHalted = all.some((shard) => shard.isHalted);
    const waiting = all.map(({ waitingEvents }) => waitingEvents);
    const waitingEvents = waiting.reduce<number | undefined>(
      (sum, events) => (sum === undefined || events === undefined ? undefined : sum + events),
      0,
    );
    const failing = this.#failures > 0 || isHalted;
    const { remainder } = this.#keeper;
    return { shards, lagMs, failing, waitingEvents, remainder, raw: this.raw.status() };
  }

  /** What is in the tables now, at least. */
  watermark(): Watermark {
    const shards = [...this.#shards.values()];
    const receipts = shards.map(({ shard, cursor }) => receiptText(shard, cursor));
    return { receipts, toMs: Math.min(...shards.map(({ completeToMs }) => completeToMs)) };
  }

  /** Events by which the edges and the loader differ, and those it read that became nothing. */
  get #missing(): number {
    const between = [...this.#shards.values()].map(({ missing }) => missing);
    return between.reduce((sum, events) => sum + events, this.#metrics.unsettled());
  }

  /** Loads what is durable, then stops. What fails now stays in the log. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.archivist.stop();
    await this.raw.stop();
    await this.#keeper.stop();
    this.#stop.abort();
    this.#wake();
    await this.#running;
    for (const { reader } of this.#shards.values()) await reader.close();
  }

  async #run(): Promise<void> {
    for (;;) {
      await this.#runJobs();
      const stopping = this.#stop.signal.aborted;
      if (!this.#isBehind() || (this.#mustWait() && !stopping)) {
        if (this.#jobs.length > 0) continue;
        if (stopping) return;
        await this.#rest();
        continue;
      }
      let leftMs = 0;
      try {
        leftMs = restMs(await this.#loadOnce());
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
      const isUrgent = () => this.#waiters.isUrgent || this.#jobs.length > 0;
      for (; leftMs > 0 && !isUrgent(); leftMs -= limits.loadEveryMs) {
        await sleep(Math.min(leftMs, limits.loadEveryMs), this.#stop.signal);
      }
    }
  }

  async #runJobs(): Promise<void> {
    for (let job = this.#jobs.shift(); job; job = this.#jobs.shift()) await job();
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      const isDue = (this.#isBehind() && !this.#mustWait()) || this.#jobs.length > 0;
      if (isDue || this.#stop.signal.aborted) resolve();
    });
  }

  #isBehind(): boolean {
    return [...this.#shards.values()].some(({ cursor, durable }) => cursor < durable);
  }

  /** Until the archivist has been there, which makes a job of it. */
  #mustWait(): boolean {
    const { archiveMinutes, store } = this.#options;
    if (archiveMinutes === undefined || !store.lake.isFull) return false;
    this.archivist.hurry();
    return true;
  }

  async #loadOnce(): Promise<Batch> {
    const { store, keys, logger, clock } = this.#options;
    const batch = new Batch(store, keys, clock.nowMs(), this.#plans);
    const cursors = await this.#read(batch);
    const [bug] = batch.faults;
    if (bug !== undefined) {
      const count = batch.faults.length;
      logger.error({ count, error: messageOf(bug) }, 'a bug: events cannot be loaded; quarantined');
    }
    const startedAt = performance.now();
    const written = await this.#commit(batch, cursors);
    this.#behindSinceMs = this.#waitingSinceMs(batch);
    this.#answerWaiters();
    this.#metrics.observe(batch, written, performance.now() - startedAt, clock.nowMs());
    this.#alarm.raise(written.quarantine, clock.nowMs());
    logger.debug({ events: batch.events, quarantined: written.quarantine.length }, 'loaded');
    batch.release();
    for (const { shard, records } of batch.parts) this.#shards.get(shard)?.reader.release(records);
    await this.raw.drop();
    return batch;
  }

  /** What waits came after what was loaded, shard by shard. */
  #waitingSinceMs({ counted }: Batch): number | undefined {
    const behind = [...this.#shards.values()].filter(({ cursor, durable }) => cursor < durable);
    if (behind.length === 0) return undefined;
    const since = this.#behindSinceMs ?? this.#options.clock.nowMs();
    return Math.min(...behind.map(({ shard }) => counted.get(shard)?.latestAtMs || since));
  }

  /** What is in the log now stays there until the returned function is called. */
  keepLog(): () => void {
    return this.raw.keepLog();
  }

  /**
   * How far each shard is: committed, and on disk.
   * @throws LOG_DAMAGED when one cannot be loaded any more
   */
  positions(): readonly Position[] {
    return [...this.#shards.values()].map(({ shard, cursor, durable, isHalted }) => {
      if (isHalted) throw fault('LOG_DAMAGED', { seen: `shard ${shard} cannot be loaded` });
      return { shard, cursor, durable };
    });
  }

  /** Fills a batch from all shards; returns the cursors that belong to it. */
  async #read(batch: Batch): Promise<ReadonlyMap<number, number>> {
    const cursors = new Map<number, number>();
    const parts: Part[] = [];
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
      this.#shards.get(shard)?.committed(next, batch.counted.get(shard));
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
    this.#waiters.answer(this.#shards);
  }
}
