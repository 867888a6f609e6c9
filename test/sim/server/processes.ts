import { EventEmitter } from 'node:events';
import type { ChildProcess, Spawned } from '../../../src/supervise/index.ts';
import type { Random } from '../disk.ts';
import type { Owner, Time } from './time.ts';

const [pipeMsMin, pipeMsMax] = [0.05, 20];

/** One end of the line between a process and its supervisor: what one has of the other. */
class End extends EventEmitter {
  readonly pid: number;
  connected = true;
  readonly #time: Time;
  readonly #random: Random;
  /** Who has it. */
  readonly #owner: Owner;
  /** What `exit` of the one and `kill` of the other do. */
  readonly #end: (code: number | null, signal: 'SIGKILL' | null) => void;
  #other: End | undefined;
  #arrivesAtMs = 0;

  constructor(time: Time, random: Random, pid: number, owner: Owner, end: SimProcess['end']) {
    super();
    this.#time = time;
    this.#random = random;
    this.pid = pid;
    this.#owner = owner;
    this.#end = end;
  }

  join(other: End): void {
    this.#other = other;
    other.#other = this;
  }

  send(message: unknown, ...rest: readonly unknown[]): boolean {
    // What is sent is bytes: nothing of its sender's memory goes along.
    const text = JSON.stringify(message);
    this.#other?.arrives((end) => end.emit('message', JSON.parse(text), undefined));
    const sent = rest.at(-1);
    if (typeof sent === 'function') this.#time.after(0, () => sent(null));
    return true;
  }

  exit(code: number): never {
    this.#end(code, null);
    return undefined as never;
  }

  kill(): boolean {
    this.#end(null, 'SIGKILL');
    return true;
  }

  /** Nothing arrives before. */
  opensAfter(ms: number): void {
    this.#arrivesAtMs = this.#time.nowMs + ms;
  }

  /** Something comes by the line: later, and after what came before it. */
  arrives(what: (end: End) => void): void {
    const delayMs = pipeMsMin + (pipeMsMax - pipeMsMin) * this.#random() ** 4;
    this.#arrivesAtMs = Math.max(this.#arrivesAtMs + 0.001, this.#time.nowMs + delayMs);
    this.#time.after(this.#arrivesAtMs - this.#time.nowMs, () => what(this), this.#owner);
  }
}

/** A process of the machine. */
export class SimProcess {
  readonly owner: NonNullable<Owner>;
  readonly #time: Time;
  /** What its supervisor has of it, and what it has of itself. */
  readonly #ends: { readonly supervisor: End; readonly self: End };
  readonly #onEnd: (process: SimProcess) => void;

  /** @param onEnd is called in the moment in which it is no more. */
  constructor(
    time: Time,
    random: Random,
    name: string,
    pid: number,
    onEnd: (process: SimProcess) => void,
  ) {
    this.#time = time;
    this.#onEnd = onEnd;
    this.owner = { name, isDead: false };
    const supervisor = new End(time, random, pid, time.owner, this.end);
    const self = new End(time, random, pid, this.owner, this.end);
    supervisor.join(self);
    this.#ends = { supervisor, self };
  }

  /** How its supervisor has it. */
  get handle(): Spawned {
    return this.#ends.supervisor as unknown as Spawned;
  }

  /** Runs its program. */
  start(bootMs: number, main: (self: ChildProcess) => Promise<void>): void {
    const self = this.#ends.self;
    self.opensAfter(bootMs);
    const run = () => void main(self as unknown as ChildProcess);
    this.#time.after(bootMs, run, this.owner);
  }

  /** Nothing of it happens any more. What it has sent arrives. */
  readonly end = (code: number | null, signal: 'SIGKILL' | null): void => {
    if (this.owner.isDead) return;
    this.owner.isDead = true;
    this.#onEnd(this);
    const { supervisor } = this.#ends;
    supervisor.connected = false;
    supervisor.arrives((end) => {
      end.emit('exit', code, signal);
      end.emit('disconnect');
    });
  };

  /** Its supervisor is gone. */
  orphan(): void {
    this.#ends.self.arrives((end) => {
      end.connected = false;
      end.emit('disconnect');
    });
  }
}
