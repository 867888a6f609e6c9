import { Random } from '../support/random.ts';

/** What a case is made with: the same seed and index make the same case. */
export class Dice {
  readonly #random: Random;

  constructor(seed: number, index = 0) {
    this.#random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b));
  }

  /** A whole number from `min` to `max`. */
  integer(min: number, max: number): number {
    return this.#random.integer(min, max);
  }

  /** True once in `count` times. */
  oneIn(count: number): boolean {
    return this.integer(1, count) === 1;
  }

  pick<T>(values: readonly T[]): T {
    const value = values[this.integer(0, values.length - 1)];
    if (value === undefined) throw new Error('nothing to pick from');
    return value;
  }

  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.integer(0, 255)));
  }

  /** Where to cut something of this length into at most `cuts + 1` pieces. */
  cuts(length: number, cuts: number): readonly number[] {
    const at = Array.from({ length: cuts }, () => this.integer(0, length));
    return [...new Set(at)].sort((a, b) => a - b);
  }
}
