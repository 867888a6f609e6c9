/** Random numbers that come again with the same seed. */
export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed;
  }

  /** A whole number from `min` to `max`. (Mulberry32.) */
  integer(min: number, max: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    const share = ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
    return min + Math.floor(share * (max - min + 1));
  }

  /** True `percent` times out of a hundred. */
  chance(percent: number): boolean {
    return this.integer(0, 99) < percent;
  }

  pick<T>(items: readonly [T, ...T[]]): T {
    return items[this.integer(0, items.length - 1)] ?? items[0];
  }
}
