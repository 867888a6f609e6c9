import { type Clock, fault, type Ids, limits, type Watermark } from '../base/index.ts';
import { parseReceipt } from '../event/index.ts';
import type { Store } from '../store/index.ts';
import { type Asked, type QueryReport, RunningQuery } from './running.ts';
import { Watch } from './watch.ts';

/** What queries ask of whoever fills the tables. */
export type Freshness = {
  /** What is in the tables now, at least. */
  watermark(): Watermark;
  /** Whether all before an offset of a shard is in the tables, within some time. */
  waitFor(shard: number, offset: number, waitMs: number): Promise<boolean>;
  /** Shows what waits in `millrace.ledger`. */
  showWaiting(): Promise<void>;
};

type Parts = {
  readonly store: Store;
  readonly freshness: Freshness;
  readonly clock: Clock;
  readonly ids: Ids;
  /** Called when a query can neither be stopped nor borne: the process must end. */
  readonly onFatal: (error: unknown) => void;
};

/** Runs users' queries, a bounded number at once. */
export class Queries {
  readonly #parts: Parts;
  readonly #running = new Map<string, RunningQuery>();
  /** Those that have ended, the latest last. */
  readonly #ended = new Map<string, QueryReport>();
  readonly #watch: Watch;

  constructor(parts: Parts) {
    this.#parts = parts;
    const onTooMuch = () => parts.onFatal(new Error('queries take too much memory'));
    this.#watch = new Watch({
      running: this.#running,
      reader: () => parts.store.reader(),
      onTooMuch,
    });
  }

  /**
   * Runs one query. The caller reads its `pieces`, or ends it.
   * @param options `after`: a receipt; the query waits until its events are in the tables.
   * `gone` ends the query when whoever asked has left.
   * @throws QUERY_REFUSED, QUERY_FAILED, QUERY_TIMEOUT, QUERY_TOO_LONG, QUERY_MEMORY,
   * QUERY_CANCELLED, QUERY_BUSY, BAD_RECEIPT, NOT_YET
   */
  async run(
    asked: Asked,
    { after, gone }: { readonly after?: string | undefined; readonly gone?: AbortSignal } = {},
  ): Promise<RunningQuery> {
    const { store, freshness } = this.#parts;
    if (after !== undefined) await this.#waitFor(after);
    const { size } = this.#running;
    if (size >= limits.queriesMax) throw fault('QUERY_BUSY', { seen: size });
    // Before the query sees anything: it sees this much at least.
    const query = this.#begin(asked, freshness.watermark());
    gone?.addEventListener('abort', () => query.end(fault('QUERY_CANCELLED')), { once: true });
    try {
      if (/\bledger\b/i.test(asked.sql)) await freshness.showWaiting();
      await query.open(await store.reader());
    } catch (error) {
      query.end(fault('QUERY_CANCELLED'));
      throw error;
    }
    return query;
  }

  #begin(asked: Asked, watermark: Watermark): RunningQuery {
    const { clock, ids, onFatal } = this.#parts;
    const id = ids.bytes(6).toString('hex');
    const onEnd = () => this.#end(query);
    const onStuck = () => onFatal(new Error(`a query does not stop: ${query.report().sql}`));
    const query = new RunningQuery({ id, asked, watermark, clock, onEnd, onStuck });
    this.#watch.begin(query);
    this.#running.set(id, query);
    return query;
  }

  #end(query: RunningQuery): void {
    this.#running.delete(query.id);
    this.#ended.set(query.id, query.report());
    const [oldest] = this.#ended.keys();
    if (this.#ended.size > limits.queriesEndedKept && oldest) this.#ended.delete(oldest);
    this.#watch.end();
  }

  /** Those that run, the oldest first. */
  list(): readonly QueryReport[] {
    return [...this.#running.values()].map((query) => query.report());
  }

  /** One that runs, or has ended lately. @throws NO_SUCH_QUERY */
  report(id: string): QueryReport {
    const report = this.#running.get(id)?.report() ?? this.#ended.get(id);
    if (!report) throw fault('NO_SUCH_QUERY', { seen: id });
    return report;
  }

  /** Ends one: whoever asked gets QUERY_CANCELLED. @throws NO_SUCH_QUERY */
  cancel(id: string): QueryReport {
    this.#running.get(id)?.end(fault('QUERY_CANCELLED'));
    return this.report(id);
  }

  async #waitFor(after: string): Promise<void> {
    const receipt = parseReceipt(after);
    if (!receipt) throw fault('BAD_RECEIPT', { seen: after });
    const { shard, offset, bytes } = receipt;
    const { queryAfterTimeoutMs } = limits;
    if (await this.#parts.freshness.waitFor(shard, offset + bytes, queryAfterTimeoutMs)) return;
    throw fault('NOT_YET', { seen: after, expected: queryAfterTimeoutMs / 1000 });
  }
}
