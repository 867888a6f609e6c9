import { fault, limits, type Watermark } from '../base/index.ts';
import { parseReceipt } from '../event/index.ts';
import type { DuckReader, Store } from '../store/index.ts';
import { type Format, writeRows } from './formats.ts';

const interruptEveryMs = 50;

/** What queries ask of whoever fills the tables. */
export type Freshness = {
  /** What is in the tables now, at least. */
  watermark(): Watermark;
  /** Whether all before an offset of a shard is in the tables, within some time. */
  waitFor(shard: number, offset: number, waitMs: number): Promise<boolean>;
  /** Shows what waits in `millrace.ledger`. */
  showWaiting(): Promise<void>;
};

/** Runs users' queries, a bounded number at once. */
export class Queries {
  readonly #store: Store;
  readonly #freshness: Freshness;
  readonly #running = new Set<RunningQuery>();

  constructor(store: Store, freshness: Freshness) {
    this.#store = store;
    this.#freshness = freshness;
  }

  /**
   * Runs one query. The caller closes what it gets, also when it has not read all of it.
   * @param options `after`: a receipt; the query waits until its events are in the tables.
   * `gone` ends the query when whoever asked has left.
   * @throws QUERY_REFUSED, QUERY_FAILED, QUERY_TIMEOUT, QUERY_BUSY, BAD_RECEIPT, NOT_YET
   */
  async run(
    sql: string,
    format: Format,
    { after, gone }: { readonly after?: string | undefined; readonly gone?: AbortSignal } = {},
  ): Promise<RunningQuery> {
    if (after !== undefined) await this.#waitFor(after);
    const { size } = this.#running;
    if (size >= limits.queriesMax) throw fault('QUERY_BUSY', { seen: size });
    // Before the query sees anything: it sees this much at least.
    const watermark = this.#freshness.watermark();
    const query = new RunningQuery(watermark, (ended) => this.#running.delete(ended));
    this.#running.add(query);
    gone?.addEventListener('abort', () => query.close(), { once: true });
    try {
      if (/\bledger\b/i.test(sql)) await this.#freshness.showWaiting();
      await query.open(await this.#store.reader(), sql, format);
    } catch (error) {
      query.close();
      throw error;
    }
    return query;
  }

  async #waitFor(after: string): Promise<void> {
    const receipt = parseReceipt(after);
    if (!receipt) throw fault('BAD_RECEIPT', { seen: after });
    const { shard, offset, bytes } = receipt;
    const { queryAfterTimeoutMs } = limits;
    if (await this.#freshness.waitFor(shard, offset + bytes, queryAfterTimeoutMs)) return;
    throw fault('NOT_YET', { seen: after, expected: queryAfterTimeoutMs / 1000 });
  }
}

/** A query and its place among those that run at once; it ends by itself when its time is over. */
export class RunningQuery {
  /** What its answer holds, at least. */
  readonly watermark: Watermark;
  readonly #onEnd: (query: RunningQuery) => void;
  readonly #timer: NodeJS.Timeout;
  #reader: DuckReader | undefined;
  #pieces: AsyncGenerator<string> | undefined;
  #work: Promise<unknown> = Promise.resolve();
  #state: 'running' | 'ended' | 'late' = 'running';

  constructor(watermark: Watermark, onEnd: (query: RunningQuery) => void) {
    this.watermark = watermark;
    this.#onEnd = onEnd;
    this.#timer = setTimeout(() => this.#end('late'), limits.queryTimeoutMs);
  }

  async open(reader: DuckReader, sql: string, format: Format): Promise<void> {
    this.#reader = reader;
    if (this.#state !== 'running') return reader.close();
    this.#pieces = writeRows(await this.#unlessEnded(reader.select(sql)), format);
  }

  /** The answer, piece by piece. @throws QUERY_FAILED, QUERY_TIMEOUT while it is made */
  async *pieces(): AsyncGenerator<string> {
    try {
      for (;;) {
        const next = this.#pieces?.next() ?? Promise.resolve({ done: true, value: '' });
        const { done, value } = await this.#unlessEnded(next);
        if (done) return;
        yield value;
      }
    } finally {
      this.close();
    }
  }

  /** Stops what runs and gives its place to others. Idempotent. */
  close(): void {
    this.#end('ended');
  }

  #end(state: 'ended' | 'late'): void {
    if (this.#state !== 'running') return;
    this.#state = state;
    clearTimeout(this.#timer);
    const reader = this.#reader;
    reader?.interrupt();
    // An interrupt between two steps stops neither of them: again, until the work has ended.
    const again = setInterval(() => reader?.interrupt(), interruptEveryMs);
    void this.#work.finally(() => {
      clearInterval(again);
      reader?.close();
    });
    this.#onEnd(this);
  }

  async #unlessEnded<T>(work: Promise<T>): Promise<T> {
    const late = () => fault('QUERY_TIMEOUT', { seen: limits.queryTimeoutMs / 1000 });
    this.#work = work.catch(() => undefined);
    try {
      const result = await work;
      if (this.#state !== 'running') throw late();
      return result;
    } catch (error) {
      throw this.#state === 'running' ? error : late();
    }
  }
}
