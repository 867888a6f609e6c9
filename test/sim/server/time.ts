import { AsyncLocalStorage } from 'node:async_hooks';
import type { Random } from '../disk.ts';

/** A process of the simulated machine; undefined is the world outside, which never dies. */
export type Owner = { readonly name: string; isDead: boolean } | undefined;

type Event = {
  readonly atMs: number;
  readonly number: number;
  readonly owner: Owner;
  run: (() => void) | undefined;
};

const realSetImmediate = setImmediate;
const epochMs = Date.UTC(2026, 0, 1);

/**
 * Time that passes only when nothing is left to do now: a queue of events, each of one process.
 * While it is installed, timers and clocks of everything in here are its own. What a process that
 * is dead had to do is never done.
 */
export class Time {
  readonly #owners = new AsyncLocalStorage<Owner>();
  readonly #random: Random;
  /** To be one of them costs more than to be one again. */
  readonly #contexts = new Map<Owner, ReturnType<typeof AsyncLocalStorage.snapshot>>();
  /** A heap: each event is before those at twice its place. */
  readonly #events: Event[] = [];
  #count = 0;
  #nowMs = 0;
  /** By how much the clock on the wall is off. */
  clockOffMs = 0;
  /** Something was thrown that nobody caught. */
  onBug: (error: unknown, owner: Owner) => void = () => undefined;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Since the beginning; never goes back. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** What the machine's clock says. */
  get clockMs(): number {
    return epochMs + Math.floor(this.#nowMs) + this.clockOffMs;
  }

  /** How many events there were. */
  get count(): number {
    return this.#count;
  }

  get owner(): Owner {
    return this.#owners.getStore();
  }

  /** Does something as a process. */
  as<T>(owner: Owner, work: () => T): T {
    const known = this.#contexts.get(owner);
    if (known) return known(work);
    const context = this.#owners.run(owner, () => AsyncLocalStorage.snapshot());
    this.#contexts.set(owner, context);
    return context(work);
  }

  /** Does something later, as whoever asks for it. */
  after(delayMs: number, run: () => void, owner = this.owner): { cancel(): void } {
    const event: Event = {
      atMs: this.#nowMs + Math.max(0, delayMs),
      number: (this.#count += 1),
      owner,
      run,
    };
    if (!owner?.isDead) this.#push(event);
    return {
      cancel: () => {
        event.run = undefined;
      },
    };
  }

  /** Some time between these, mostly short. */
  pass(leastMs: number, mostMs: number): Promise<void> {
    const chance = this.#random();
    const delayMs = leastMs + (mostMs - leastMs) * chance * chance * chance;
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Lets things happen until a moment, or until something is so. */
  async run(untilMs: number, isDone: () => boolean = () => false): Promise<void> {
    while (!isDone()) {
      const next = this.#events[0];
      if (!next || next.atMs > untilMs) {
        this.#nowMs = Math.max(this.#nowMs, untilMs);
        return;
      }
      await this.step();
    }
  }

  /** Lets the next thing happen, with all that follows from it at once. */
  async step(): Promise<void> {
    const event = this.#pop();
    if (!event) return;
    this.#nowMs = event.atMs;
    const { run, owner } = event;
    if (!run || owner?.isDead) return;
    try {
      this.as(owner, run);
    } catch (error) {
      this.onBug(error, owner);
    }
    await new Promise((resolve) => realSetImmediate(resolve));
  }

  /** Takes the place of the real timers and clocks until the returned function is called. */
  install(): () => void {
    const timer = (again: boolean) => {
      return (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
        return new Timer(this, () => run(...args), Math.max(1, ms), again);
      };
    };
    const clear = (given: unknown) => {
      if (given instanceof Timer) given.cancel();
    };
    const immediate = (run: (...args: unknown[]) => void, ...args: unknown[]) => {
      return new Timer(this, () => run(...args), 0, false);
    };
    const own = {
      setTimeout: timer(false),
      setInterval: timer(true),
      setImmediate: immediate,
      clearTimeout: clear,
      clearInterval: clear,
      clearImmediate: clear,
    };
    const { setTimeout, setInterval, clearTimeout, clearInterval, clearImmediate } = globalThis;
    const real = { setTimeout, setInterval, setImmediate: realSetImmediate };
    const undo = { ...real, clearTimeout, clearInterval, clearImmediate };
    const [now, monotonic] = [Date.now, performance.now.bind(performance)];
    const bug = (error: unknown) => this.onBug(error, this.owner);
    Object.assign(globalThis, own);
    Date.now = () => this.clockMs;
    performance.now = () => this.#nowMs;
    process.on('unhandledRejection', bug);
    return () => {
      Object.assign(globalThis, undo);
      Date.now = now;
      performance.now = monotonic;
      process.off('unhandledRejection', bug);
    };
  }

  #push(event: Event): void {
    const events = this.#events;
    let at = events.length;
    for (; at > 0; ) {
      const above = (at - 1) >> 1;
      if (!isBefore(event, events[above] as Event)) break;
      events[at] = events[above] as Event;
      at = above;
    }
    events[at] = event;
  }

  #pop(): Event | undefined {
    const events = this.#events;
    const [first, last] = [events[0], events.pop()];
    if (!last || events.length === 0) return first;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= events.length) break;
      const right = left + 1;
      const isRight = right < events.length && isBefore(events[right]!, events[left]!);
      const below = isRight ? right : left;
      if (!isBefore(events[below]!, last)) break;
      events[at] = events[below]!;
      at = below;
    }
    events[at] = last;
    return first;
  }
}

/** What `setTimeout` and the like return. */
class Timer {
  readonly #time: Time;
  readonly #owner: Owner;
  readonly #run: () => void;
  readonly #ms: number;
  readonly #again: boolean;
  #next: { cancel(): void };

  constructor(time: Time, run: () => void, ms: number, again: boolean) {
    this.#time = time;
    this.#owner = time.owner;
    this.#run = run;
    this.#ms = ms;
    this.#again = again;
    this.#next = this.#arm();
  }

  #arm(): { cancel(): void } {
    const run = () => {
      if (this.#again) this.#next = this.#arm();
      this.#run();
    };
    return this.#time.after(this.#ms, run, this.#owner);
  }

  cancel(): void {
    this.#next.cancel();
  }

  refresh(): this {
    this.#next.cancel();
    this.#next = this.#arm();
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.number < other.number);
}
