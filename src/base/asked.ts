/** What an edge asks the store. */
export type Asked =
  /** What would a record of the log become? In base64. */
  | { readonly kind: 'explain'; readonly record: string }
  /** What became of the events of these tables between two offsets of its shard? */
  | {
      readonly kind: 'settle';
      readonly from: number;
      readonly to: number;
      readonly tables: readonly string[];
      readonly waitMs: number;
    };
