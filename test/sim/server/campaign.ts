import { seeded } from '../disk.ts';
import { actionsBy } from './actions.ts';
import { shortest } from './shrink.ts';
import { type Counts, type Plant, simulate } from './world.ts';

/** What many runs came to. */
export type Sum = {
  runs: number;
  virtualMs: number;
  readonly counts: Counts;
  /** Seeds that failed, with what was wrong. */
  readonly failures: { readonly seed: number; readonly violations: readonly string[] }[];
};

export function emptySum(): Sum {
  return { runs: 0, virtualMs: 0, counts: {}, failures: [] };
}

/** Runs seeds one after the other. */
export async function runSeeds(from: number, to: number, plant?: Plant): Promise<Sum> {
  const sum = emptySum();
  for (let seed = from; seed < to; seed += 1) {
    const { violations, counts, virtualMs } = await simulate(seed, actionsBy(seeded(seed)), plant);
    const failures = violations.length > 0 ? [{ seed, violations }] : [];
    addSum(sum, { runs: 1, virtualMs, counts, failures });
  }
  return sum;
}

export function addSum(sum: Sum, other: Sum): void {
  sum.runs += other.runs;
  sum.virtualMs += other.virtualMs;
  sum.failures.push(...other.failures);
  for (const [name, count] of Object.entries(other.counts)) {
    sum.counts[name] = (sum.counts[name] ?? 0) + count;
  }
}

/** The shortest history of a seed that fails, as it is kept, and how it ends. */
export async function historyOf(seed: number): Promise<string> {
  const actions = await shortest(seed, actionsBy(seeded(seed)));
  const { violations, lines } = await simulate(seed, actions);
  const told = [...new Set(violations)].map((violation) => `  ${violation}`);
  const kept = actions.map((action) => `    ${JSON.stringify(action)}`).join(',\n');
  return [
    `seed ${seed} fails:`,
    ...told,
    'what the server said:',
    ...lines.map((line) => `  ${line}`),
    'to be kept in test/sim/seeds/:',
    `{ "why": "", "seed": ${seed}, "actions": [\n${kept}\n] }`,
  ].join('\n');
}
