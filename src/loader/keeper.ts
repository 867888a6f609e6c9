import {
  type Clock,
  isFault,
  limits,
  type Logger,
  messageOf,
  type Metrics,
} from '../base/index.ts';
import type { KeyRing } from '../keys/index.ts';
import type { ParkedFilter, ParkedGroup, Remainder, Store } from '../store/index.ts';
import { keyReasons } from './alarm.ts';
import { judge } from './batch.ts';
import type { ReplayReport } from './replay.ts';
import type { Webhook } from './webhook.ts';

type Parts = {
  readonly store: Store;
  readonly keys: KeyRing;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly webhook: Webhook;
  readonly loader: {
    exclusive<T>(work: () => Promise<T>): Promise<T>;
    replay(filter: ParkedFilter, isDry: boolean): Promise<ReplayReport>;
  };
  /** Events by which the edges and the loader differ. */
  readonly missing: () => number;
};

/**
 * What is done again and again beside loading: events in quarantine are adopted by keys that
 * allow them now; what is too old or too much there goes; the books are checked and kept short.
 */
export class Keeper {
  readonly #parts: Parts;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> | undefined;
  /** The set of keys that the quarantine was last looked through with; none yet. */
  #adoptedVersion = -1;
  #auditedAtMs = 0;
  #auditEveryMs: number = limits.auditEveryMs;
  /** Events that went and were not spoken of yet, and when they last were. */
  #expired = 0;
  #saidAtMs = 0;
  /** Said once, not every second. */
  #failure = '';
  #remainder: Remainder = { events: 0, where: [] };

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** As last checked. */
  get remainder(): Remainder {
    return this.#remainder;
  }

  start(): void {
    const work = () => {
      this.#working ??= this.#work().finally(() => {
        this.#working = undefined;
      });
    };
    this.#timer = setInterval(work, limits.housekeepingEveryMs);
    work();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#working;
  }

  async #work(): Promise<void> {
    const { loader, store, clock, logger } = this.#parts;
    try {
      await this.#adopt();
      this.#failure = '';
      this.#expired += await loader.exclusive(() => store.parked.expire(clock.nowMs()));
      this.#sayExpired();
      // The clock may have been set back.
      if (Math.abs(clock.nowMs() - this.#auditedAtMs) < this.#auditEveryMs) return;
      const startedAt = performance.now();
      await loader.exclusive(() => this.#audit());
      await loader.exclusive(() => store.books.compact(clock.nowMs()));
      // Loading waits meanwhile: long books are looked at less often.
      const tookMs = performance.now() - startedAt;
      this.#auditEveryMs = Math.max(limits.auditEveryMs, tookMs / limits.auditShareMax);
    } catch (error) {
      // The loader ends: it refuses before it stops this.
      if (this.#timer === undefined || isFault(error, 'LOG_CLOSED')) return;
      const seen = messageOf(error);
      if (seen !== this.#failure) logger.error({ error: seen }, 'housekeeping fails; tried again');
      this.#failure = seen;
    }
  }

  #sayExpired(): void {
    const { clock, logger } = this.#parts;
    const isDue = Math.abs(clock.nowMs() - this.#saidAtMs) >= limits.alarmEveryMs;
    if (this.#expired === 0 || !isDue) return;
    logger.warn({ expired: this.#expired }, 'the oldest events of the quarantine went');
    this.#expired = 0;
    this.#saidAtMs = clock.nowMs();
  }

  /** Loads what is in quarantine because of its key, and would not be with the keys of now. */
  async #adopt(): Promise<void> {
    const { keys, store, loader, logger } = this.#parts;
    // Between two loads: every batch that was judged with older keys is in the store by then.
    const version = await loader.exclusive(async () => {
      await keys.refresh();
      return keys.version;
    });
    if (version === this.#adoptedVersion) return;
    // Of keys that nobody made there may be any number: they are not looked at.
    const known = keys.all().map(({ fingerprint }) => fingerprint);
    let groups = await store.parked.groupsOf(known);
    for (; groups.length > 0; groups = await store.parked.groupsOf(known, groups.at(-1))) {
      const among = groups.filter((group) => keyReasons.includes(group.reason) && this.#may(group));
      if (among.length === 0) continue;
      const report = await loader.replay({ among }, false);
      logger.info(report, 'events in quarantine were adopted: their keys allow them now');
    }
    this.#adoptedVersion = version;
  }

  /** Whether some of a group's events would be rows; each is judged when it is loaded. */
  #may({ database, table, fingerprint, firstAtMs }: ParkedGroup): boolean {
    const event = { database, table, receivedAtMs: firstAtMs };
    const { refusal } = judge(this.#parts.keys, {
      ...event,
      fingerprint: Buffer.from(fingerprint, 'hex'),
    });
    return refusal === undefined;
  }

  async #audit(): Promise<void> {
    const { store, clock, logger, webhook, missing } = this.#parts;
    this.#auditedAtMs = clock.nowMs();
    const found = await store.books.audit();
    const lost = missing();
    const where = [...(lost > 0 ? ['between the edges and the loader'] : []), ...found.where];
    const remainder = { events: found.events + lost, where };
    const isNews = remainder.events !== this.#remainder.events;
    this.#remainder = remainder;
    if (!isNews) return;
    if (remainder.events === 0) return logger.info('the books are right again');
    logger.error(remainder, 'the books are wrong: events are missing or too many');
    webhook.send({ alarm: 'ledger_remainder', ...remainder });
  }
}
