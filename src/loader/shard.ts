import { fault, limits, type Mark } from '../base/index.ts';
import type { LogReader } from '../log/index.ts';
import type { Store } from '../store/index.ts';

/** Writers that are remembered. */
const beginsMax = 100;

/** The records of the log that were read: where each stands and how many events it holds. */
export class Counted {
  readonly #offsets: number[] = [];
  readonly #events: number[] = [];
  #taken = 0;
  /** When the last one was received, ms. */
  latestAtMs = 0;

  /** Adds a record that stands behind the others. */
  add(offset: number, events: number): void {
    this.#offsets.push(offset);
    this.#events.push(events);
  }

  /** The events of the records before an offset that were not taken yet. */
  takeBefore(offset: number): number {
    let events = 0;
    for (; (this.#offsets[this.#taken] ?? Infinity) < offset; this.#taken += 1) {
      events += this.#events[this.#taken] ?? 0;
    }
    return events;
  }
}

/** How far a shard is: all before the offset is in the store, or on disk. */
export type Position = {
  readonly shard: number;
  readonly cursor: number;
  readonly durable: number;
};

/**
 * Where to go on with a shard.
 * @throws STORE_MISSING when the log has dropped what a store had loaded, and this is not that one
 */
export function cursorOf({ cursors }: Store, shard: number, { firstOffset }: LogReader): number {
  const cursor = cursors.get(shard);
  if (cursor === undefined && firstOffset > 0) {
    const why = `the log begins at ${firstOffset}: what was before it was loaded and dropped`;
    throw fault('STORE_MISSING', { seen: `that has loaded shard ${shard}`, why });
  }
  return cursor ?? 0;
}

/**
 * How far one shard is, on disk and in the store. Its writer says at moments (marks) how many
 * events it has put on disk; the loader counts what it reads. Between two marks both must agree.
 */
export class Shard {
  readonly shard: number;
  readonly reader: LogReader;
  /** Nothing is loaded any more: the log is not the one that the cursor belongs to. */
  isHalted = false;
  #cursor: number;
  #durable: number;
  #newest: Mark | undefined;
  /** Marks that the cursor has not reached, oldest first. */
  #ahead: Mark[] = [];
  /** The mark that the cursor reached last, and the events that were read since. */
  #reached: Mark | undefined;
  #eventsSince = 0;
  #completeToMs = 0;
  #missing = 0;
  /** Where the writers that were heard of began. */
  #begins: readonly number[] = [];

  constructor(shard: number, reader: LogReader, cursor: number) {
    this.shard = shard;
    this.reader = reader;
    this.#cursor = cursor;
    this.#durable = cursor;
  }

  /** Committed in the store. */
  get cursor(): number {
    return this.#cursor;
  }

  /** On disk, as the writer says. */
  get durable(): number {
    return this.isHalted ? this.#cursor : this.#durable;
  }

  /** Whether the writer has said so yet. */
  get isKnown(): boolean {
    return this.#newest !== undefined;
  }

  /** What was acknowledged by this time is in the store; ms since the epoch, 0 if unknown. */
  get completeToMs(): number {
    return this.#completeToMs;
  }

  /** Events on disk that are not in the store; undefined until both sides have counted. */
  get waitingEvents(): number | undefined {
    const [newest, reached] = [this.#newest, this.#reached];
    if (!newest || this.#cursor >= newest.offset) return 0;
    if (newest.begin !== reached?.begin) return undefined;
    return newest.events - reached.events - this.#eventsSince;
  }

  /** By how many events the writer and the loader differ, all in all. */
  get missing(): number {
    return this.#missing;
  }

  /** Takes what the writer says; false if its log ends before what was loaded. */
  hear(mark: Mark): boolean {
    const isNew = mark.begin !== this.#newest?.begin;
    // A word of a writer before the present one that was long on its way says nothing any more.
    if (isNew && this.#begins.includes(mark.begin)) return true;
    if (mark.offset < this.#cursor) return !isNew;
    if (isNew) this.#begins = [...this.#begins.slice(-beginsMax), mark.begin];
    if (isNew && mark.begin >= this.#cursor) {
      this.#push({ ...mark, offset: mark.begin, events: 0, atMs: 0 });
    }
    this.#push(mark);
    this.#durable = Math.max(this.#durable, mark.offset);
    this.#reach(this.#cursor);
    return true;
  }

  /** After the transaction that holds the records. */
  committed(next: number, records?: Counted): void {
    this.#cursor = next;
    this.#reach(next, records);
  }

  #push(mark: Mark): void {
    const last = this.#ahead.at(-1);
    if (last && mark.offset < last.offset) return;
    // The same place at a later moment: the loader need not pass it twice.
    if (last?.offset === mark.offset && last.begin === mark.begin) this.#ahead.pop();
    this.#ahead.push(mark);
    this.#newest = mark;
    const count = this.#ahead.length;
    if (count <= limits.marksMax) return;
    this.#ahead = this.#ahead.filter((_, index) => index % 2 !== count % 2);
  }

  #reach(next: number, records?: Counted): void {
    while ((this.#ahead[0]?.offset ?? Infinity) <= next) {
      const mark = this.#ahead.shift() as Mark;
      this.#eventsSince += records?.takeBefore(mark.offset) ?? 0;
      const before = this.#reached;
      if (before?.begin === mark.begin) {
        this.#missing += Math.abs(mark.events - before.events - this.#eventsSince);
      }
      this.#reached = mark;
      // Where a writer began says nothing of what was acknowledged before.
      if (mark.atMs > 0) this.#completeToMs = mark.atMs;
      this.#eventsSince = 0;
    }
    this.#eventsSince += records?.takeBefore(Infinity) ?? 0;
  }
}
