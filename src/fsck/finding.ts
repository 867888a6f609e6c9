import type { Stretch } from '../base/index.ts';

/** Something that is not as it should be. */
export type Finding = {
  readonly part: 'log' | 'raw' | 'store' | 'lake' | 'keys';
  /** `damage`: something is lost or will be. `note`: nothing is, it is only said. */
  readonly level: 'damage' | 'note';
  /** A path below the data directory, or receipts. */
  readonly where: string;
  readonly seen: string;
  /** What is lost with it, or is not. */
  readonly covers: string;
  /** What `--repair` does about it, or what helps. */
  readonly remedy: string;
  readonly fix?: Fix;
};

/** What `--repair` does. */
export type Fix =
  /** Takes back what the end of the power has torn in the store. */
  | { readonly kind: 'torn' }
  /** Cuts the store's log where it cannot be read. */
  | { readonly kind: 'wal'; readonly at: number }
  /** Writes the first bytes of the store's log anew. */
  | { readonly kind: 'walBeginning' }
  /** Makes a new store of the lake and the log. */
  | { readonly kind: 'rebuild' }
  /** Makes tables of the engine anew. */
  | { readonly kind: 'tables'; readonly names: readonly string[] }
  /** Moves a cursor to where the log begins. */
  | { readonly kind: 'cursor'; readonly shard: number; readonly next: number }
  | {
      readonly kind: 'header';
      readonly shard: number;
      readonly base: number;
      readonly previousEnd: number;
    }
  /** Lets a shard go on at its cursor. */
  | {
      readonly kind: 'continue';
      readonly shard: number;
      readonly base: number;
      readonly previousEnd: number;
    }
  /** Keeps bytes of the log that are no records, and loads what is around them. */
  | { readonly kind: 'skip'; readonly shard: number; readonly base: number; readonly gap: Stretch }
  /** Takes a file out of its table, but for what is whole of it. */
  | { readonly kind: 'file'; readonly path: string; readonly damage: readonly Stretch[] };

/** What was looked at. */
export type Checked = {
  segments: number;
  records: number;
  rawSegments: number;
  tables: number;
  files: number;
  bytes: number;
};
