import { SingleHead } from '../event/index.ts';
import type { Account } from '../store/index.ts';
import type { TablePlan } from './plan.ts';
import { minuteMs, minuteOf, type Tally } from './tally.ts';

/** What all records of a lane have in common. */
export type LaneRules = Pick<Account, 'database' | 'table' | 'keyId'> & {
  /** Records before this offset of the log … */
  readonly fromOffset: number;
  /** … or received from this moment on are looked at one by one. */
  readonly untilMs: number;
};

/**
 * Records of version 1 that differ in nothing but the time of receipt and their bodies: what a key
 * may do, and where its events go, is found out once for all of them.
 */
export class Lane {
  readonly head: SingleHead;
  readonly rules: LaneRules;
  /** Once there is one. */
  plan: TablePlan | undefined;
  /** Rows by minute; those of the last minute are not among them yet. */
  readonly #rows = new Map<number, number>();
  #minute = 0;
  #rowsOfMinute = 0;

  /** @param at where the first of the records begins in `bytes`. */
  constructor(bytes: Buffer, at: number, rules: LaneRules) {
    this.head = new SingleHead(bytes, at);
    this.rules = rules;
  }

  /** Whether nothing need be known of a record but its body. */
  isOpen(offset: number, receivedAtMs: number): boolean {
    return offset >= this.rules.fromOffset && receivedAtMs < this.rules.untilMs;
  }

  /** Counts a row. */
  count(receivedAtMs: number): void {
    const since = receivedAtMs - this.#minute * minuteMs;
    if (since < 0 || since >= minuteMs) this.#turn(minuteOf(receivedAtMs));
    this.#rowsOfMinute += 1;
  }

  /** Adds what was counted. */
  book(tally: Tally): void {
    this.#turn(this.#minute);
    const { database, table, keyId } = this.rules;
    for (const [minute, rows] of this.#rows) {
      tally.add({ minute, database, table, keyId }, 'committed', rows);
    }
  }

  #turn(minute: number): void {
    if (this.#rowsOfMinute > 0) {
      this.#rows.set(this.#minute, (this.#rows.get(this.#minute) ?? 0) + this.#rowsOfMinute);
    }
    this.#minute = minute;
    this.#rowsOfMinute = 0;
  }
}
