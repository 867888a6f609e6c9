import { setTimeout as sleep } from 'node:timers/promises';
import { isFault, limits, randomIds, systemClock } from '../base/index.ts';
import { createKey, importKey, revokeKey } from '../keys/index.ts';
import { database, type Lane } from './events.ts';
import type { Random } from './random.ts';
import type { Server } from './server.ts';

/** Keys that come and go; those before them stay. */
const keysAtOnce = 3;
/** A long run goes on with those it has. */
const keysMax = limits.keysMax / 2;

/** What an operator does meanwhile: makes keys, takes them back, moves rows into files. */
export class Chores {
  readonly keys: Record<Lane['key'], string>;
  readonly counts = { keyChanges: 0, archives: 0 };
  readonly #data: string;
  readonly #random: Random;
  /** Keys of the lane `later`, and whether each may write now. */
  readonly #later = new Map<string, boolean>();
  #made = 0;

  private constructor(data: string, random: Random, keys: Record<Lane['key'], string>) {
    this.#data = data;
    this.#random = random;
    this.keys = keys;
  }

  static async open(data: string, random: Random): Promise<Chores> {
    const make = async (name: string) => {
      const made = await createKey(data, { database: name }, randomIds, systemClock.nowMs());
      return made.key;
    };
    const [good, foreign] = [await make(database), await make('elsewhere')];
    const chores = new Chores(data, random, { good, foreign, unknown: newKey(), later: '' });
    await chores.renew();
    return chores;
  }

  /** From now on events of the lanes `later` have another key, which nobody knows. */
  async renew(): Promise<void> {
    await this.settle(keysAtOnce - 1);
    this.#made += 1;
    if (this.#made > keysMax && this.#later.size > 0) return;
    this.keys.later = newKey();
    this.#later.set(this.keys.later, false);
  }

  /** One chore after another, until there is a signal to stop. */
  async run(server: Server, signal: AbortSignal): Promise<void> {
    await this.#archive(server);
    while (!signal.aborted) {
      if (this.#random.chance(50))
        await this.#changeKey(this.#random.pick([this.keys.later, ...this.#later.keys()]));
      else await this.#archive(server);
      await sleep(this.#random.integer(50, 400), undefined, { signal }).catch(() => undefined);
    }
  }

  /** Makes the keys known that are meant to be, but for the last few. */
  async settle(butLast = 0): Promise<void> {
    const keys = [...this.#later];
    for (const [key, mayWrite] of keys.slice(0, Math.max(0, keys.length - butLast))) {
      if (!mayWrite) await this.#changeKey(key);
      this.#later.delete(key);
    }
  }

  async #changeKey(key: string): Promise<void> {
    const mayWrite = this.#later.get(key) === true;
    const nowMs = systemClock.nowMs();
    if (mayWrite) await revokeKey(this.#data, nameOf(key), nowMs);
    else {
      const rules = { database, name: nameOf(key) };
      await importKey(this.#data, key, rules, randomIds, nowMs);
    }
    this.#later.set(key, !mayWrite);
    this.counts.keyChanges += 1;
  }

  async #archive(server: Server): Promise<void> {
    // The store may be down just now.
    const done = await server.ask('POST', '/tables/archive', {}).catch((error: unknown) => {
      if (isFault(error, 'SELFTEST_FAILED') || error instanceof TypeError) return undefined;
      throw error;
    });
    if (done) this.counts.archives += 1;
  }
}

function newKey(): string {
  return `1/${randomIds.bytes(20).toString('hex')}`;
}

/** A key's name may be said; the key itself not. */
function nameOf(key: string): string {
  return `later ${key.slice(2, 10)}`;
}
