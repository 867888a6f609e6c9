import { Random as Seeded } from '../../src/selftest/random.ts';

/** Random numbers that come again with the same seed. */
export class Random extends Seeded {
  /** Without a seed, one of the environment (`SEED=… vitest run …`) or a new one. */
  constructor(seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)) {
    super(seed);
  }
}
