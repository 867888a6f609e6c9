import { eventOf, type Lane, numberIn, type Row } from './events.ts';
import { fates, type Ledger } from './ledger.ts';

/** What SQL finds of an event: a row of a table, or its bytes in quarantine. */
export type Found =
  | { readonly kind: 'row'; readonly table: string; readonly row: Row }
  | { readonly kind: 'parked'; readonly table: string; readonly body: string };

/** How the promise was broken. */
export const breaches = {
  /** Acknowledged, and nowhere. */
  lost: 'lost',
  /** In more than one place, or in one more than once. */
  twice: 'twice',
  /** Stored, but not as it was sent. */
  changed: 'changed',
  /** Stored where it does not belong: in another table, in quarantine without a reason. */
  misplaced: 'misplaced',
  /** Stored, though it was refused or never sent. */
  ghosts: 'ghosts',
} as const;
export type Breach = keyof typeof breaches;

export type Findings = Readonly<Record<Breach, number>> & {
  readonly rows: number;
  readonly parked: number;
  readonly rescued: number;
  /** Stored events whose sender got no answer. */
  readonly openStored: number;
  /** The first few breaches, for people. */
  readonly examples: readonly string[];
};

const examplesMax = 20;

/**
 * Holds what is stored against what was promised: each event that was acknowledged is in its table
 * or in quarantine, once, as it was sent; and nothing else is.
 */
export class Audit {
  readonly #ledger: Ledger;
  readonly #from: number;
  readonly #isFinal: boolean;
  /** How often each event was found … */
  readonly #found: Uint8Array;
  /** … and whether it waits in quarantine in some copies. */
  readonly #waits: Uint8Array;
  readonly #breaches = { lost: 0, twice: 0, changed: 0, misplaced: 0, ghosts: 0 };
  readonly #counts = { rows: 0, parked: 0, rescued: 0 };
  readonly #examples: string[] = [];

  /**
   * @param from events before this number are not looked at.
   * @param isFinal whether every key that is made known later is known by now.
   */
  constructor(ledger: Ledger, from: number, isFinal: boolean) {
    this.#ledger = ledger;
    this.#from = from;
    this.#isFinal = isFinal;
    this.#found = new Uint8Array(Math.max(0, ledger.sent - from));
    this.#waits = new Uint8Array(this.#found.length);
  }

  see(found: Found): void {
    if (found.kind === 'row') this.#counts.rows += 1;
    else this.#counts.parked += 1;
    const number = found.kind === 'row' ? Number(found.row.n ?? NaN) : numberIn(found.body);
    const lane = number === undefined ? undefined : this.#ledger.laneOf(number);
    const fate = number === undefined ? undefined : this.#ledger.fateOf(number);
    if (number === undefined || lane === undefined || fate === fates.refused) {
      const why = lane === undefined ? 'nobody sent it' : 'it was refused';
      return this.#breach('ghosts', `${placeOf(found)}: ${shown(found)}: ${why}`);
    }
    this.#countOne(number, found, lane);
    if (!this.#belongs(found, lane)) {
      this.#breach('misplaced', `event ${number} (${lane.key} key) in ${placeOf(found)}`);
    }
    const event = eventOf(number, lane);
    if (found.kind === 'row' && found.row._rescued_data) this.#counts.rescued += 1;
    const isWhole =
      found.kind === 'row' ? isSameRow(found.row, event.row) : found.body === event.body;
    if (!isWhole) this.#breach('changed', `event ${number} in ${placeOf(found)}: ${shown(found)}`);
  }

  /** When everything that is stored was seen. */
  close(): Findings {
    let openStored = 0;
    for (const [index, once] of this.#found.entries()) {
      const count = once + (this.#waits[index] ?? 0);
      const fate = this.#ledger.fateOf(this.#from + index);
      if (fate === fates.acknowledged && count === 0) {
        this.#breach('lost', `event ${this.#from + index} was acknowledged and is nowhere`);
      }
      if (fate === fates.open && count > 0) openStored += 1;
    }
    return { ...this.#breaches, ...this.#counts, openStored, examples: this.#examples };
  }

  #countOne(number: number, found: Found, { key, hasUuid }: Lane): void {
    const index = number - this.#from;
    // In quarantine each copy that was sent waits by itself: a repeat is known when its key is.
    const isCopy = found.kind === 'parked' && key === 'later' && hasUuid;
    if (isCopy) return void (this.#waits[index] = 1);
    const count = Math.min(255, (this.#found[index] ?? 0) + 1);
    this.#found[index] = count;
    if (count === 2) this.#breach('twice', `event ${number}, once more in ${placeOf(found)}`);
  }

  #belongs({ kind, table }: Found, lane: Lane): boolean {
    if (table !== lane.table) return false;
    if (lane.key === 'later') return kind === 'row' || !this.#isFinal;
    return (kind === 'row') === (lane.key === 'good');
  }

  #breach(breach: Breach, example: string): void {
    this.#breaches[breach] += 1;
    if (this.#examples.length < examplesMax) this.#examples.push(`${breach}: ${example}`);
  }
}

/** How often the promise was broken. */
export function breachesIn(findings: Findings): number {
  return (Object.keys(breaches) as Breach[]).reduce((sum, breach) => sum + findings[breach], 0);
}

function placeOf({ kind, table }: Found): string {
  return kind === 'row' ? table : `quarantine of ${table}`;
}

function shown(found: Found): string {
  const text = found.kind === 'row' ? JSON.stringify(found.row) : found.body;
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

/** Columns of other events are NULL. */
function isSameRow(found: Row, expected: Row): boolean {
  const names = new Set([...Object.keys(found), ...Object.keys(expected)]);
  return [...names].every((name) => (found[name] ?? null) === (expected[name] ?? null));
}
