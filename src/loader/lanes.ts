import { SingleHead } from '../event/index.ts';
import type { Group, Part } from './group.ts';
import type { Lane } from './lane.ts';

/** A lane of a shard, and where its records go. */
export type KnownLane = { readonly lane: Lane; readonly shard: number; readonly group: Group };

/** The lanes of a batch, by what their records have in common. */
export class Lanes {
  readonly #begin: (part: Part, index: number) => KnownLane;
  readonly #all = new Map<string, KnownLane>();
  /** The latest of them by a hash of that, which others may have too. */
  readonly #likely = new Map<number, KnownLane>();
  #last: KnownLane | undefined;

  /** @param begin makes the lane of a record that is of none so far. */
  constructor(begin: (part: Part, index: number) => KnownLane) {
    this.#begin = begin;
  }

  /** The lane of a record of version 1, by its number in a part. */
  at(part: Part, index: number): KnownLane {
    const { bytes } = part.records;
    const place = part.records.startAt(index);
    if (isOf(this.#last, part, place)) return this.#last;
    const hash = SingleHead.hashAt(bytes, place);
    const likely = this.#likely.get(hash);
    if (isOf(likely, part, place)) return (this.#last = likely);
    const name = `${part.shard} ${SingleHead.textAt(bytes, place)}`;
    let known = this.#all.get(name);
    if (!known) this.#all.set(name, (known = this.#begin(part, index)));
    this.#likely.set(hash, known);
    return (this.#last = known);
  }

  *[Symbol.iterator](): Iterator<Lane> {
    for (const { lane } of this.#all.values()) yield lane;
  }
}

/** Whether the record at a place of a part is of a lane. */
function isOf(
  known: KnownLane | undefined,
  { shard, records }: Part,
  at: number,
): known is KnownLane {
  return known?.shard === shard && known.lane.head.isHeadAt(records.bytes, at);
}
