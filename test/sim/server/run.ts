import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { table } from '../../../src/cli/render.ts';
import { addSum, emptySum, historyOf, runSeeds, type Sum } from './campaign.ts';

const help = `Usage: npm run sim -- [options]

Runs the whole server in simulated time, with faults by chance: what was acknowledged must be
stored once, whatever happens. Exits with 1 when a run shows something else.

  --runs N    how many (default: 1000)
  --seed N    of the first one (default: 1); the others follow
  --jobs N    processes (default: one for each processor)
  --json      print JSON

Examples:
  npm run sim -- --runs 100000
  npm run sim -- --runs 1 --seed 4711`;

/** Runs of one process: what its dead servers leave behind goes with it. */
const chunkRuns = 500;
const shownFailuresMax = 3;

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const options = { runs: text, seed: text, jobs: text, json: flag, help: flag };
  const { values } = parseArgs({ options });
  if (values.help) return console.log(help);
  const [runs, first] = [whole(values.runs ?? '1000'), whole(values.seed ?? '1')];
  const jobs = whole(values.jobs ?? String(availableParallelism()));
  const startedAt = performance.now();
  const sum = emptySum();
  let next = first;
  const work = async () => {
    while (next < first + runs) {
      const [from, to] = [next, Math.min(next + chunkRuns, first + runs)];
      next = to;
      addSum(sum, await apart(from, to));
      if (process.stderr.isTTY) process.stderr.write(`\r${sum.runs} of ${runs} runs`);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  const seconds = (performance.now() - startedAt) / 1_000;
  if (values.json) console.log(JSON.stringify({ ...sum, seconds }));
  else show(sum, seconds);
  for (const { seed } of sum.failures.slice(0, shownFailuresMax))
    console.log(await historyOf(seed));
  process.exit(sum.failures.length > 0 ? 1 : 0);
}

function show({ runs, virtualMs, counts, failures }: Sum, seconds: number): void {
  const rows = Object.entries(counts)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, count]) => [name, count.toLocaleString('en')]);
  console.log(table(['what', 'how often'], rows));
  const minutes = Math.round(virtualMs / 60_000).toLocaleString('en');
  const took = `${minutes} minutes of the server in ${Math.round(seconds)} s`;
  console.log(`\n${runs.toLocaleString('en')} runs, ${took}: ${failures.length} with violations`);
}

/** Runs some seeds in a process of their own. */
function apart(from: number, to: number): Promise<Sum> {
  return new Promise((resolve, reject) => {
    const child = fork(import.meta.filename, ['--chunk', `${from}`, `${to}`]);
    child.once('message', (sum) => resolve(sum as Sum));
    child.once('exit', (code) => reject(new Error(`runs ${from} to ${to} ended with ${code}`)));
  });
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new Error(`expected a number, seen: ${text}`);
  return value;
}

if (process.argv[2] === '--chunk') {
  const sum = await runSeeds(Number(process.argv[3]), Number(process.argv[4]));
  process.send?.(sum, () => process.exit(0));
} else await main();
