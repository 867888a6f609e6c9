import { type Account, type Entry, skewBounds, type SkewCount } from '../store/index.ts';

type Counts = { -readonly [K in Exclude<keyof Entry, keyof Account>]: number };
type Line = Account & Counts;
export type Outcome = 'committed' | 'quarantined' | 'deduplicated';

export const minuteMs = 60_000;
const dayMs = 86_400_000;

export function minuteOf(ms: number): number {
  return Math.floor(ms / minuteMs);
}

/** What a batch adds to the ledger. */
export class Tally {
  readonly #lines = new Map<string, Line>();
  readonly #skew = new Map<string, { -readonly [K in keyof SkewCount]: SkewCount[K] }>();
  #last: Line | undefined;

  add(account: Account, outcome: Outcome, events = 1): void {
    const line = this.#line(account);
    line.received += events;
    line[outcome] += events;
  }

  /** An event leaves the quarantine, and is added again wherever it goes. */
  release(account: Account): void {
    const line = this.#line(account);
    line.received -= 1;
    line.quarantined -= 1;
  }

  /** @param seconds by which `td_record_time` was off; NaN if it was no time. */
  addSkew(receivedAtMs: number, keyId: string, seconds: number): void {
    const day = Math.floor(receivedAtMs / dayMs);
    const bucket = bucketOf(seconds);
    const key = `${day} ${bucket} ${keyId}`;
    const count = this.#skew.get(key);
    if (count) count.events += 1;
    else this.#skew.set(key, { day, keyId, bucket, events: 1 });
  }

  get entries(): readonly Entry[] {
    return [...this.#lines.values()];
  }

  get skew(): readonly SkewCount[] {
    return [...this.#skew.values()];
  }

  #line({ minute, database, table, keyId }: Account): Line {
    const last = this.#last;
    const isLast = last?.minute === minute && last.keyId === keyId;
    if (isLast && last.table === table && last.database === database) return last;
    const key = `${minute} ${keyId} ${database}.${table}`;
    let line = this.#lines.get(key);
    if (!line) {
      const counts = { received: 0, committed: 0, quarantined: 0, deduplicated: 0 };
      line = { minute, database, table, keyId, ...counts, expired: 0, dropped: 0 };
      this.#lines.set(key, line);
    }
    this.#last = line;
    return line;
  }
}

function bucketOf(seconds: number): number {
  if (Number.isNaN(seconds)) return -1;
  const above = skewBounds.findIndex((bound) => seconds < bound);
  return above === -1 ? skewBounds.length : above;
}
