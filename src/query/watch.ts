import { fault, limits } from '../base/index.ts';
import type { DuckReader } from '../store/index.ts';
import type { RunningQuery } from './running.ts';

type Parts = {
  readonly running: ReadonlyMap<string, RunningQuery>;
  readonly reader: () => Promise<DuckReader>;
  /** When queries take so much memory that only a new process helps. */
  readonly onTooMuch: () => void;
};

/**
 * Looks at the memory while queries run. The engine bounds what it can spill to disk; this bounds
 * what it cannot, and what it does not know of: long texts and lists that are being made.
 */
export class Watch {
  readonly #parts: Parts;
  #timer: NodeJS.Timeout | undefined;
  #isLooking = false;
  #memory = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** A query begins. */
  begin(query: RunningQuery): void {
    query.memoryAtStart = this.#timer ? this.#memory : process.memoryUsage.rss();
    this.#timer ??= setInterval(() => void this.#look(), limits.queryWatchEveryMs);
  }

  /** Stops when none runs any more. */
  end(): void {
    if (this.#parts.running.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** A reader keeps files from being removed: one for each look. */
  async #heldBytes(): Promise<number> {
    const reader = await this.#parts.reader();
    return reader.heldBytes().finally(() => reader.close());
  }

  async #look(): Promise<void> {
    const processBytes = process.memoryUsage.rss();
    if (processBytes > limits.storeProcessBytesMax) return this.#parts.onTooMuch();
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const heldBytes = await this.#heldBytes();
      this.#memory = processBytes;
      const { queryMemoryBytesMax, storeMemoryBytesMax } = limits;
      const isOver =
        heldBytes > queryMemoryBytesMax ||
        (processBytes > storeMemoryBytesMax + queryMemoryBytesMax &&
          this.#growth() > queryMemoryBytesMax);
      if (isOver) this.#mostLikely()?.end(fault('QUERY_MEMORY'));
      for (const query of this.#parts.running.values()) await query.look();
    } catch {
      // The engine has no memory for the question itself: the next look comes soon.
    } finally {
      this.#isLooking = false;
    }
  }

  /** The most that memory has grown in the time of a query. */
  #growth(): number {
    const starts = [...this.#parts.running.values()].map(({ memoryAtStart }) => memoryAtStart);
    return this.#memory - Math.min(...starts);
  }

  /** Nobody knows whose memory it is: the youngest of those that saw half of its growth. */
  #mostLikely(): RunningQuery | undefined {
    const half = this.#growth() / 2;
    const running = [...this.#parts.running.values()];
    return running.findLast(({ memoryAtStart }) => this.#memory - memoryAtStart >= half);
  }
}
