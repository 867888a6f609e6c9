import { isFault, type Mark, Metrics } from '../base/index.ts';
import { headerBytes } from './format.ts';
import { listSegments, shardDirectory } from './segments.ts';
import { lockShard, openLog, type ShardOptions } from './shard.ts';

/** Shards whose writers come and go without a word: their locks tell which have none now. */
export class IdleShards {
  readonly #options: Omit<ShardOptions, 'shard' | 'metrics'>;
  readonly #marks = new Map<number, Mark>();

  constructor(options: Omit<ShardOptions, 'shard' | 'metrics'>) {
    this.#options = options;
  }

  /**
   * How far each of some shards is, but for those that somebody writes. What its last writer left
   * is recovered.
   * @param heard is told so before anybody can begin to write the shard.
   */
  async look(
    shards: readonly number[],
    heard: (shard: number, mark: Mark) => void,
  ): Promise<ReadonlyMap<number, Mark>> {
    const marks = new Map<number, Mark>();
    for (const shard of shards) {
      const mark = await this.#lookAt(shard, heard);
      if (mark) marks.set(shard, mark);
    }
    return marks;
  }

  /** Whether a mark is of a writer before the last look, when all that it left was recovered. */
  isOver(shard: number, { begin }: Mark): boolean {
    return begin < (this.#marks.get(shard)?.begin ?? 0);
  }

  async #lookAt(
    shard: number,
    heard: (shard: number, mark: Mark) => void,
  ): Promise<Mark | undefined> {
    const options = { ...this.#options, shard };
    const lock = await lockShard(options, 0).catch((error: unknown) => {
      if (!isFault(error, 'LOCKED')) throw error;
    });
    if (!lock) return undefined;
    try {
      const mark = (await this.#sameAsBefore(shard)) ?? (await recover(options));
      this.#marks.set(shard, mark);
      heard(shard, mark);
      return mark;
    } finally {
      lock.release();
    }
  }

  /** Whoever writes begins a segment of their own: without a new one, nobody has. */
  async #sameAsBefore(shard: number): Promise<Mark | undefined> {
    const { disk, dataDirectory, clock } = this.#options;
    const before = this.#marks.get(shard);
    if (!before) return undefined;
    const bases = await listSegments(disk, shardDirectory(dataDirectory, shard));
    if (bases.at(-1) !== before.begin - headerBytes) return undefined;
    return { ...before, atMs: clock.nowMs() };
  }
}

async function recover(options: Omit<ShardOptions, 'metrics'>): Promise<Mark> {
  const log = await openLog({ ...options, metrics: new Metrics(`idle-${options.shard}`) });
  const { mark } = log;
  await log.close();
  return mark;
}
