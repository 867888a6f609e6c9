import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { seeded } from './disk.ts';
import { type Action, actionsBy } from './server/actions.ts';
import { historyOf, runSeeds } from './server/campaign.ts';
import { shortest } from './server/shrink.ts';
import { type Plant, simulate } from './server/world.ts';

/*
 * The whole server in simulated time: see `server/world.ts`. More runs: `npm run sim`.
 */

const runs = 200;
/** Other runs each time; a failing one says its seed. */
const first = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9));

describe('a server whose machine fails in every way', () => {
  test('keeps what it acknowledged, once, and nothing else', async () => {
    const { failures, counts } = await runSeeds(first, first + runs);
    const [failure] = failures;
    expect(failure && (await historyOf(failure.seed))).toBeUndefined();
    // Else nothing is shown: each kind of trouble was there, and events in all of it.
    expect(counts.acknowledged).toBeGreaterThan(3 * runs);
    expect(counts.rows).toBeGreaterThan(3 * runs);
    expect(counts.quarantined).toBeGreaterThan(runs);
    expect(counts.refused).toBeGreaterThan(runs / 10);
    for (const kind of [
      'unanswered',
      'power cut',
      'kill edge',
      'kill store',
      'kill supervisor',
      'kill children',
      'kill all',
      'EIO',
      'ENOSPC',
      'disk full',
      'slow disk',
      'rot',
      'store faults',
      'clock step',
      'store ends itself',
    ]) {
      expect(counts[kind], kind).toBeGreaterThan(runs / 40);
    }
  });

  test('does the same again with the same seed', async () => {
    for (const seed of [first, first + 1, first + 2]) {
      const actions = actionsBy(seeded(seed));
      const { trace } = await simulate(seed, actions);
      expect((await simulate(seed, actions)).trace).toBe(trace);
    }
  });

  test.each<Plant>(['a disk that lies', 'forgets rows', 'fails after it committed'])(
    'is found out with a mistake on purpose: %s',
    async (plant) => {
      const { failures } = await runSeeds(1, 15, plant);
      const [failure] = failures;
      expect(failure).toBeDefined();
      const { seed } = failure ?? { seed: 0 };
      const whole = actionsBy(seeded(seed));
      const short = await shortest(seed, whole, plant);
      expect(short.length).toBeLessThan(whole.length);
      expect((await simulate(seed, short, plant)).violations).not.toEqual([]);
      expect((await simulate(seed, short)).violations).toEqual([]);
    },
  );

  const folder = new URL('seeds/', import.meta.url);
  for (const name of readdirSync(folder)) {
    const kept = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as {
      readonly why: string;
      readonly seed: number;
      readonly actions: readonly Action[];
    };
    test.each(['on', 'off'] as const)(`${kept.why}; hot lane %s`, async (hotLane) => {
      const { violations } = await simulate(kept.seed, kept.actions, undefined, hotLane);
      expect(violations).toEqual([]);
    });
  }
});
