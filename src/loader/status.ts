import type { Remainder } from '../store/index.ts';
import type { RawStatus } from './raw-keeper.ts';

/** What waits for the loader. */
export type LoaderStatus = {
  readonly shards: readonly {
    readonly shard: number;
    readonly waitingBytes: number;
    readonly segments: number;
  }[];
  /** Age of the oldest event that waits; 0 when none does. */
  readonly lagMs: number;
  /** The last load failed; it is tried again. */
  readonly failing: boolean;
  /** Events that wait; undefined until the edges have counted them. */
  readonly waitingEvents: number | undefined;
  /** By how much the books are wrong, as last checked. */
  readonly remainder: Remainder;
  /** Segments that are kept after they were loaded. */
  readonly raw: RawStatus;
};
