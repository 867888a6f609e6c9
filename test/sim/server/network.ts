import { Duplex } from 'node:stream';
import type { Random } from '../disk.ts';
import type { Owner, Time } from './time.ts';

const [latencyMsMin, latencyMsMax] = [0.05, 30];

/** One end of a connection: what is written arrives at the other, later and in pieces. */
export class SimSocket extends Duplex {
  readonly #time: Time;
  readonly #random: Random;
  readonly owner: Owner;
  #other: SimSocket | undefined;
  #arrivesAtMs = 0;

  private constructor(time: Time, random: Random, owner: Owner) {
    super({ allowHalfOpen: true, emitClose: true });
    this.#time = time;
    this.#random = random;
    this.owner = owner;
  }

  /** A connection from the world outside to a process. */
  static pair(time: Time, random: Random, server: Owner): readonly [SimSocket, SimSocket] {
    const [client, other] = [
      new SimSocket(time, random, undefined),
      new SimSocket(time, random, server),
    ];
    client.#other = other;
    other.#other = client;
    return [client, other];
  }

  /** Its process died: the other end hears of it, if it lives. */
  reset(): void {
    const other = this.#other;
    this.#later(() => other?.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' })));
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    const isCut = chunk.length > 1 && this.#random() < 0.2;
    const at = isCut ? 1 + Math.floor(this.#random() * (chunk.length - 1)) : chunk.length;
    for (const piece of [chunk.subarray(0, at), chunk.subarray(at)]) {
      if (piece.length > 0) this.#later(() => this.#other?.push(Buffer.from(piece)));
    }
    done();
  }

  override _final(done: (error?: Error) => void): void {
    this.#later(() => this.#other?.push(null));
    done();
  }

  override _read(): void {}

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const other = this.#other;
    if (other && !other.destroyed) this.reset();
    done(error);
  }

  /** What happens at the other end, one after the other. */
  #later(arrive: () => void): void {
    const chance = this.#random();
    const delayMs = latencyMsMin + (latencyMsMax - latencyMsMin) * chance ** 4;
    this.#arrivesAtMs = Math.max(this.#arrivesAtMs + 0.001, this.#time.nowMs + delayMs);
    const other = this.#other;
    const run = () => {
      if (other && !other.destroyed) arrive();
    };
    this.#time.after(this.#arrivesAtMs - this.#time.nowMs, run, other?.owner);
  }
}
