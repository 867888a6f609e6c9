/** Random numbers that come again with the same seed. */
export class Random {
  readonly seed: number;
  #state: number;

  /** Without a seed, one of the environment (`SEED=… vitest run …`) or a new one. */
  constructor(seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)) {
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
}
