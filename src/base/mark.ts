/** How far a shard is on disk, as its writer says at one moment. */
export type Mark = {
  /** All before it is on disk. */
  readonly offset: number;
  /** Events that this writer has put on disk, all before `offset`. */
  readonly events: number;
  /** The offset at which this writer began: another one, another writer. */
  readonly begin: number;
  /** The moment, ms since the epoch: what was acknowledged by then lies before `offset`. */
  readonly atMs: number;
};

/** How complete the tables are. */
export type Watermark = {
  /** One for each shard: all before it is in. */
  readonly receipts: readonly string[];
  /** All that was acknowledged by this time is in; ms since the epoch, Infinity for everything. */
  readonly toMs: number;
};
