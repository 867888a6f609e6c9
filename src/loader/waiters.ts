import { fault } from '../base/index.ts';
import type { Shard } from './shard.ts';

export type Waiter = {
  /** Whether loading takes no rest until then. */
  readonly isUrgent: boolean;
  /** By shard: resolves when all before is in the store. */
  readonly targets: ReadonlyMap<number, number>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

/** Who waits until events are in the store. */
export class Waiters {
  readonly #shards: ReadonlyMap<number, Shard>;
  #waiting: Waiter[] = [];

  constructor(shards: ReadonlyMap<number, Shard>) {
    this.#shards = shards;
  }

  get isAnyUrgent(): boolean {
    return this.#waiting.some(({ isUrgent }) => isUrgent);
  }

  add(waiter: Waiter): void {
    this.#waiting.push(waiter);
    this.answer();
  }

  forget(waiter: Waiter): void {
    this.#waiting = this.#waiting.filter((other) => other !== waiter);
  }

  /** Answers those whose events are in, and those whose shard is not loaded any more. */
  answer(): void {
    const left: Waiter[] = [];
    for (const waiter of this.#waiting) {
      const shards = [...waiter.targets].map(([shard, offset]) => {
        const known = this.#shards.get(shard);
        return { isHalted: known?.isHalted ?? true, cursor: known?.cursor ?? 0, offset };
      });
      if (shards.some(({ isHalted }) => isHalted)) {
        waiter.reject(fault('LOG_DAMAGED', { seen: 'a shard of the log cannot be loaded' }));
      } else if (shards.every(({ cursor, offset }) => cursor >= offset)) waiter.resolve();
      else left.push(waiter);
    }
    this.#waiting = left;
  }
}
