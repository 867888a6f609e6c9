import { rm } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { table } from '../src/cli/render.ts';
import type { TestServer } from '../test/support/server.ts';
import { LoadThread } from './load-thread.ts';
import type { Phase } from './load.ts';
import { percentilesOf } from './percentiles.ts';
import { freshDirectory, runScript, withServer } from './server.ts';

/*
 * What queries cost those who send events: an open loop of events, in quiet and beside queries
 * that never end by themselves. A disk's own pauses are longer than what is measured, so the phases
 * are short, take turns, and the median of their rounds is what counts.
 */

const help = `Usage: npm run bench:queries -- [options]

  --rounds N    how many times each phase is run (default: 15)
  --seconds N   length of each (default: 3)
  --rate N      events per second (default: 2000)
  --json        print JSON`;

const computing = 'SELECT sum(a.range * b.range) FROM range(1000000000) a, range(1000000000) b';
const sorting = `SELECT max(n) FROM (
  SELECT row_number() OVER (ORDER BY hash(range)) AS n FROM range(1000000000000))`;
const streaming = "SELECT range, 'x' || range AS text FROM range(1000000000000)";
const phases: readonly (readonly [string, readonly string[]])[] = [
  ['quiet', []],
  ['1 query that computes', [computing]],
  ['1 query that sorts more than fits', [sorting]],
  ['10 queries that compute', Array.from({ length: 10 }, () => computing)],
  ['10 queries that stream JSON', Array.from({ length: 10 }, () => streaming)],
];

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const options = { rounds: text, seconds: text, rate: text, json: flag, help: flag };
  const { values } = parseArgs({ options });
  if (values.help) return console.log(help);
  const rounds = Number(values.rounds ?? 15);
  const phase = {
    seconds: Number(values.seconds ?? 3),
    ratePerSecond: Number(values.rate ?? 2000),
  };
  const data = await freshDirectory('millrace-bench-', undefined);
  try {
    const level = ['--log-level', 'warn'];
    const rows = await withServer(data, level, (server) => run(server, rounds, phase));
    if (values.json) return console.log(JSON.stringify(rows));
    const columns = ['beside', 'p50 ms', 'p99 ms', 'of quiet', 'lag ms', '/healthz ms', 'ended by'];
    console.log(
      table(
        columns,
        rows.map((row) => Object.values(row)),
      ),
    );
  } finally {
    await rm(data, { recursive: true });
  }
}

async function run(server: TestServer, rounds: number, phase: Phase) {
  const thread = await LoadThread.start(server, { connections: 64 });
  await thread.run(phase);
  const taken = phases.map((): Taken[] => []);
  for (let round = 0; round < rounds; round++) {
    // Each round begins with another phase: none is always the one after the heaviest.
    for (let turn = 0; turn < phases.length; turn++) {
      const index = (round + turn) % phases.length;
      const queries = (phases[index] as (typeof phases)[number])[1];
      taken[index]?.push(await take(server, thread, queries, phase));
    }
  }
  await thread.close();
  const of = (index: number, name: 'p50' | 'p99' | 'lagMs' | 'healthMs') =>
    Number(percentilesOf(Float64Array.from(taken[index] ?? [], (one) => one[name])).p50.toFixed(1));
  return phases.map(([beside], index) => ({
    beside,
    p50Ms: of(index, 'p50'),
    p99Ms: of(index, 'p99'),
    ofQuiet: Number((of(index, 'p99') / of(0, 'p99')).toFixed(2)),
    lagMs: of(index, 'lagMs'),
    healthMs: of(index, 'healthMs'),
    ends: [...new Set(taken[index]?.flatMap(({ ends }) => ends))].join(', '),
  }));
}

type Taken = Awaited<ReturnType<typeof take>>;

async function take(
  server: TestServer,
  thread: LoadThread,
  queries: readonly string[],
  phase: Phase,
) {
  const ending = queries.map((sql) => endOf(server, sql, phase.seconds * 1000));
  const stop = new AbortController();
  const looking = look(server, stop.signal);
  const { latenciesMs } = await thread.run(phase);
  stop.abort();
  const seen = await looking;
  const ends = await Promise.all(ending);
  await server.flush();
  return { ...percentilesOf(latenciesMs), ...seen, ends };
}

/** Runs a query to its end, and says what that was. */
async function endOf({ admin }: TestServer, sql: string, timeoutMs: number): Promise<string> {
  const headers = { 'Content-Type': 'application/json' };
  const body = JSON.stringify({ sql, timeoutMs });
  const answer = await fetch(`${admin}/query`, { method: 'POST', headers, body });
  if (!answer.ok) return ((await answer.json()) as { code: string }).code;
  const ended = answer.body?.pipeTo(new WritableStream()).then(
    () => 'itself',
    () => 'a cut',
  );
  return (await ended) ?? 'itself';
}

/** The greatest lag that the server shows, and the longest that it takes to say that it lives. */
async function look({ admin }: TestServer, signal: AbortSignal) {
  let [lagMs, healthMs] = [0, 0];
  while (!signal.aborted) {
    const askedAtMs = performance.now();
    await (await fetch(`${admin}/healthz`)).text();
    healthMs = Math.max(healthMs, Math.round(performance.now() - askedAtMs));
    const status = (await (await fetch(`${admin}/status`)).json()) as {
      waiting: { lagMs: number };
    };
    lagMs = Math.max(lagMs, status.waiting.lagMs);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return { lagMs, healthMs };
}

await runScript(main);
