import type { EventRecord } from '../event/index.ts';
import type { Records } from '../log/index.ts';
import type { EventId } from '../store/index.ts';
import type { Lane } from './lane.ts';
import type { Source } from './plan.ts';

/** Records that were read from a shard of the log. */
export type Part = { readonly shard: number; readonly records: Records };

/** An event on its way; with an `id` it may be a repeat. */
export type Draft = {
  readonly source: Source;
  readonly record: EventRecord;
  readonly id?: EventId;
};

/** Records of a lane, by their numbers in a part. */
export type Run = { readonly part: Part; readonly lane: Lane; readonly indexes: number[] };

/**
 * What a batch has for one table, in the order of the log. Batches are gone through table by table,
 * so that what is known of a table stays in the caches of the processor for all of its rows: in the
 * order of the log, a row of one in a thousand tables costs twice as much.
 */
export class Group {
  readonly work: (Run | Draft)[] = [];
  #run: Run | undefined;

  /** Adds a record of version 1. */
  addRecord(part: Part, lane: Lane, index: number): void {
    let run = this.#run;
    if (run?.part !== part || run.lane !== lane) {
      this.#run = run = { part, lane, indexes: [] };
      this.work.push(run);
    }
    run.indexes.push(index);
  }

  addDraft(draft: Draft): void {
    this.#run = undefined;
    this.work.push(draft);
  }
}
