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
};
