import { type Lane, lanes } from './events.ts';

/** What a sender knows of an event. */
export const fates = {
  /** Its request got no answer, or has none yet: it may be stored, but once only. */
  open: 1,
  /** Answered with 200: it must be stored, once. */
  acknowledged: 2,
  /** Refused, or not sent to its end: it must not be stored. */
  refused: 3,
} as const;
export type Fate = (typeof fates)[keyof typeof fates];

/** What the senders know of their events: the measure of what the server promised. */
export class Ledger {
  #fates = new Uint8Array(65_536);
  #lanes = new Uint8Array(65_536);
  #sent = 0;

  /** Numbers below this were given out. */
  get sent(): number {
    return this.#sent;
  }

  /** Numbers for new events of a lane, one behind the other. @returns the first */
  take(lane: Lane, count: number): number {
    const first = this.#sent;
    this.#sent += count;
    if (this.#sent > this.#fates.length) this.#grow();
    this.#lanes.fill(lanes.indexOf(lane), first, this.#sent);
    this.note(first, count, fates.open);
    return first;
  }

  note(first: number, count: number, fate: Fate): void {
    this.#fates.fill(fate, first, first + count);
  }

  /** Undefined if the number was never given out. */
  fateOf(number: number): Fate | undefined {
    return number < this.#sent ? (this.#fates[number] as Fate) : undefined;
  }

  laneOf(number: number): Lane | undefined {
    return number < this.#sent ? lanes[this.#lanes[number] ?? -1] : undefined;
  }

  /** How many events have a fate, of those before a number. */
  count(fate: Fate, before = this.#sent): number {
    return this.#fates.subarray(0, before).reduce((sum, one) => sum + Number(one === fate), 0);
  }

  #grow(): void {
    const size = Math.max(this.#fates.length * 2, this.#sent);
    const grown = (old: Uint8Array) => {
      const bytes = new Uint8Array(size);
      bytes.set(old);
      return bytes;
    };
    this.#fates = grown(this.#fates);
    this.#lanes = grown(this.#lanes);
  }
}
