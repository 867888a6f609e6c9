import { rm } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { table } from '../src/cli/render.ts';
import type { TestServer } from '../test/support/server.ts';
import { LoadThread } from './load-thread.ts';
import type { Phase } from './load.ts';
import { percentilesOf } from './percentiles.ts';
import { freshDirectory, runScript, withServer } from './server.ts';

/*
 * What queries cost those who send events: an open loop of events, first in quiet, then beside
 * queries that never end by themselves.
 */

const help = `Usage: npm run bench:queries -- [options]

  --seconds N   length of each phase (default: 10)
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
  ['quiet again', []],
];

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const options = { seconds: text, rate: text, json: flag, help: flag };
  const { values } = parseArgs({ options });
  if (values.help) return console.log(help);
  const phase = {
    seconds: Number(values.seconds ?? 10),
    ratePerSecond: Number(values.rate ?? 2000),
  };
  const data = await freshDirectory('millrace-bench-', undefined);
  try {
    const rows = await withServer(data, ['--log-level', 'warn'], (server) => run(server, phase));
    if (values.json) return console.log(JSON.stringify(rows));
    const columns = ['beside', 'p50 ms', 'p99 ms', 'max ms', 'lag ms', '/healthz ms', 'ended by'];
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

async function run(server: TestServer, phase: Phase) {
  const thread = await LoadThread.start(server, { connections: 64 });
  await thread.run(phase);
  const rows = [];
  for (const [beside, queries] of phases) {
    const ending = queries.map((sql) => endOf(server, sql, phase.seconds * 1000));
    const stop = new AbortController();
    const looking = look(server, stop.signal);
    const { latenciesMs } = await thread.run(phase);
    stop.abort();
    const { lagMs, healthMs } = await looking;
    const ends = new Set(await Promise.all(ending));
    await server.flush();
    const { p50, p99, max } = percentilesOf(latenciesMs);
    const [p50Ms, p99Ms, maxMs] = [p50, p99, max].map((ms) => Number(ms.toFixed(1)));
    rows.push({ beside, p50Ms, p99Ms, maxMs, lagMs, healthMs, ends: [...ends].join(', ') });
  }
  await thread.close();
  return rows;
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
