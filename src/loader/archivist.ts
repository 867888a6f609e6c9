import { type Clock, isFault, limits, type Logger, messageOf } from '../base/index.ts';
import { type Metrics, sleep } from '../base/index.ts';
import type { Between, Chore, Store } from '../store/index.ts';
import { upkeepMetrics } from './metrics.ts';

type Parts = {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** How old hot rows may be; undefined: nothing happens by itself. */
  readonly archiveMinutes: number | undefined;
  /** Percent of the time that compaction may take. */
  readonly compactionShare: number;
  readonly between: Between;
  /** What else there is to do. @returns whether something was done */
  readonly also: () => Promise<boolean>;
  /** Called when the store can no longer be used. */
  readonly onFatal: (error: unknown) => void;
};

/** What is done to tables and their files, one thing at a time: by itself, and when asked for. */
export class Archivist {
  readonly #parts: Parts;
  readonly #stop = new AbortController();
  #hurry = new AbortController();
  #last: Promise<unknown> = Promise.resolve();
  #running: Promise<void> = Promise.resolve();
  readonly #metrics: ReturnType<typeof upkeepMetrics>;
  /** Tables whose last chore failed, and until when they rest: others must not wait for them. */
  readonly #resting = new Map<string, number>();
  /** Said once, not every minute. */
  #failure = '';

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#metrics = upkeepMetrics(parts.metrics, parts.store.lake);
  }

  start(): void {
    const { store, logger } = this.#parts;
    const { missing, setAside } = store.lake;
    const hint = 'put them back, from a backup or another disk; see: millrace status';
    if (missing.length > 0) logger.error({ missing, hint }, 'files of the lake are not there');
    if (setAside > 0) logger.warn({ setAside }, 'files that no table names are in lake/.orphans');
    if (this.#parts.archiveMinutes !== undefined) this.#running = this.#run();
  }

  /** After what runs; what it was doing is undone, or goes on at the next start. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#last;
  }

  /** Ends its rest: something may be due. */
  hurry(): void {
    this.#hurry.abort();
  }

  /** Aborted when everything is to end. */
  get stopping(): AbortSignal {
    return this.#stop.signal;
  }

  /** Runs work when no other changes tables or their files. */
  alone<T>(work: (between: Between) => Promise<T>): Promise<T> {
    const done = this.#last.then(() => work(this.#parts.between));
    this.#last = done.catch((error: unknown) => {
      if (isFault(error, 'STORE_INVALID')) this.#parts.onFatal(error);
    });
    return done;
  }

  /** Moves what is hot of a table to files. @returns how many rows */
  archive({ database, table }: { readonly database: string; readonly table: string }) {
    return this.alone((between) => this.#parts.store.lake.archive(database, table, between));
  }

  async #run(): Promise<void> {
    const { store, clock, logger, archiveMinutes = 0 } = this.#parts;
    await this.alone(() => store.lake.weigh()).catch((error: unknown) => {
      logger.warn({ error: messageOf(error) }, 'how long hot rows are is not known');
    });
    let compactAfterMs = 0;
    while (!this.#stop.signal.aborted) {
      const nowMs = clock.nowMs();
      const chore = store.lake.due(nowMs, archiveMinutes * 60_000, ({ database, table }) => {
        return nowMs >= (this.#resting.get(`${database}.${table}`) ?? 0);
      });
      const startedAt = performance.now();
      const isTooEarly = chore?.kind === 'compact' && startedAt < compactAfterMs;
      const isDone = !isTooEarly && (await this.#attempt(chore));
      if (isDone && chore?.kind === 'compact') {
        const endedAt = performance.now();
        const share = this.#parts.compactionShare / 100;
        compactAfterMs = endedAt + (endedAt - startedAt) * (1 / share - 1);
      }
      this.#hurry = new AbortController();
      const signal = AbortSignal.any([this.#stop.signal, this.#hurry.signal]);
      await sleep(isDone ? 0 : limits.upkeepEveryMs, signal);
    }
  }

  /** Whether something was done. */
  async #attempt(chore: Chore | undefined): Promise<boolean> {
    const { logger, also, clock } = this.#parts;
    const what = chore ? `${chore.kind} ${chore.database}.${chore.table}` : 'erase';
    try {
      const startedAt = performance.now();
      const isDone = chore ? await this.alone((between) => this.#do(chore, between)) : also();
      const ms = Math.round(performance.now() - startedAt);
      if (chore) logger.debug({ what, ms }, 'upkeep');
      if (chore) this.#metrics.done.inc({ kind: chore.kind });
      if (chore) this.#resting.delete(`${chore.database}.${chore.table}`);
      this.#failure = '';
      return await isDone;
    } catch (error) {
      if (this.#stop.signal.aborted) return false;
      this.#metrics.failures.inc();
      if (chore) {
        const { database, table } = chore;
        this.#resting.set(`${database}.${table}`, clock.nowMs() + limits.upkeepRetryMs);
      }
      const seen = `${what}: ${messageOf(error)}`;
      if (seen !== this.#failure) logger.error({ error: seen }, 'upkeep fails; it is tried again');
      this.#failure = seen;
      return false;
    }
  }

  async #do(chore: Chore, between: Between): Promise<true> {
    const { lake } = this.#parts.store;
    const { database, table } = chore;
    if (chore.kind === 'archive') await lake.archive(database, table, between);
    else if (chore.kind === 'expire') await lake.expire(database, table, chore.before, between);
    else await lake.compact(database, table, chore.files, between);
    return true;
  }
}
