import { fault } from '../base/index.ts';
import type { Shard } from './shard.ts';

type Waiter = {
  /** Whether loading takes no rest until then. */
  readonly isUrgent: boolean;
  /** By shard: resolves when all before is in the store. */
  readonly targets: ReadonlyMap<number, number>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

/** Who waits until what is in the log is in the store. */
export class Waiters {
  #waiting: Waiter[] = [];

  get isUrgent(): boolean {
    return this.#waiting.some((waiter) => waiter.isUrgent);
  }

  /** @throws LOG_DAMAGED when a shard cannot be loaded any more */
  flush(targets: ReadonlyMap<number, number>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ isUrgent: true, targets, resolve, reject });
    });
  }

  /** Whether it is there within some time. */
  waitFor(shard: number, offset: number, waitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const waiter = {
        isUrgent: false,
        targets: new Map([[shard, offset]]),
        resolve: () => end(true),
        reject: () => end(false),
      };
      const late = setTimeout(() => end(false), waitMs);
      const end = (isThere: boolean) => {
        clearTimeout(late);
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
        resolve(isThere);
      };
      this.#waiting.push(waiter);
    });
  }

  /** Answers those whose shards are so far. */
  answer(all: ReadonlyMap<number, Shard>): void {
    const waiting: Waiter[] = [];
    for (const waiter of this.#waiting) {
      const shards = [...waiter.targets].map(([shard, offset]) => {
        const known = all.get(shard);
        return { isHalted: known?.isHalted ?? true, cursor: known?.cursor ?? 0, offset };
      });
      if (shards.some(({ isHalted }) => isHalted)) {
        waiter.reject(fault('LOG_DAMAGED', { seen: 'a shard of the log cannot be loaded' }));
      } else if (shards.every(({ cursor, offset }) => cursor >= offset)) waiter.resolve();
      else waiting.push(waiter);
    }
    this.#waiting = waiting;
  }
}
