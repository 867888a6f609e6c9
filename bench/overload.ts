import { rm } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { table } from '../src/cli/render.ts';
import type { TestServer } from '../test/support/server.ts';
import { type Ended, type Kind, outcome } from './abuse.ts';
import { Abusers } from './abusers.ts';
import { LoadThread } from './load-thread.ts';
import type { PhaseResult } from './load.ts';
import { percentilesOf } from './percentiles.ts';
import { forgetPeak, peakBytesOf, residentBytes, serverProcesses } from './processes.ts';
import { freshDirectory, progress, runScript, withServer } from './server.ts';
import { allLoaded } from './under-load.ts';
import { storedIds, verify } from './verify.ts';

/*
 * What senders who ask for too much cost those who do not: an open loop of events, in quiet, beside
 * each kind of abuse, and after it. In the end every acknowledged event must be stored once.
 */

const help = `Usage: npm run bench:overload -- [options]

  --rounds N    how many times each phase is run (default: 3)
  --seconds N   length of each, and of the quiet after it (default: 5)
  --rate N      honest events per second, on 64 connections (default: 200)
  --only NAME   one of quiet, idle, slow, large, pipelining, flood
  --json        print JSON

Examples:
  npm run bench:overload
  npm run bench:overload -- --rounds 1 --only large`;

const honestConnections = 64;
const mib = 1024 * 1024;
const nobody: Ended = { statuses: {}, unanswered: 0, closed: 0 };
const phases: readonly (readonly [Kind | 'quiet', number])[] = [
  ['quiet', 0],
  ['idle', 10_000 - honestConnections],
  ['slow', 2_000],
  ['large', 500],
  ['pipelining', 64],
  ['flood', 1_000],
];

type Settings = {
  readonly rounds: number;
  readonly seconds: number;
  readonly ratePerSecond: number;
};

/** What one phase of one round showed. */
type Taken = {
  readonly peakBytes: number;
  readonly beside: PhaseResult;
  readonly after: PhaseResult;
  readonly afterBytes: number;
  readonly ended: Ended;
};

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const options = { rounds: text, seconds: text, rate: text, only: text, json: flag, help: flag };
  const { values } = parseArgs({ options });
  if (values.help) return console.log(help);
  const settings: Settings = {
    rounds: Number(values.rounds ?? 3),
    seconds: Number(values.seconds ?? 5),
    ratePerSecond: Number(values.rate ?? 200),
  };
  const chosen = phases.filter(([name]) => values.only === undefined || name === values.only);
  if (chosen.length === 0) throw new Error(`there is no phase ${values.only}: see --help`);
  const data = await freshDirectory('millrace-bench-', undefined);
  try {
    const level = ['--log-level', 'error'];
    const told = await withServer(data, level, (server) => run(server, chosen, settings));
    if (values.json) console.log(JSON.stringify(told));
    else {
      const { rows, stored } = told;
      console.log(
        table(
          Object.keys(rows[0] ?? {}),
          rows.map((row) => Object.values(row)),
        ),
      );
      console.log(`\nstored once: ${stored.honest} honest events, ${stored.abusive} others`);
    }
  } finally {
    await rm(data, { recursive: true });
  }
}

async function run(server: TestServer, chosen: typeof phases, settings: Settings) {
  const [, edge] = await serverProcesses(server.process.pid ?? 0);
  const load = await LoadThread.start(server, { connections: honestConnections });
  const abusers = await Abusers.start(server);
  const honest: PhaseResult[] = [];
  const send = async () => {
    honest.push(await load.run(settings));
    return honest.at(-1) as PhaseResult;
  };
  const taken = chosen.map((): Taken[] => []);
  try {
    await send();
    for (let round = 0; round < settings.rounds; round += 1) {
      for (const [index, [kind, connections]] of chosen.entries()) {
        progress(`round ${round + 1}: ${kind}`);
        taken[index]?.push(await take(edge?.pid ?? 0, abusers, kind, connections, send));
        // What is still to be loaded is not the next one's affair.
        await allLoaded(server);
      }
    }
    progress('checking what is stored');
    const stored = await mustBeOnce(server, honest, await abusers.outcomes());
    return { rows: chosen.map((phase, index) => rowOf(phase, taken[index] ?? [])), stored };
  } finally {
    abusers.close();
    await load.close();
  }
}

async function take(
  edgePid: number,
  abusers: Abusers,
  kind: Kind | 'quiet',
  connections: number,
  send: () => Promise<PhaseResult>,
): Promise<Taken> {
  await forgetPeak(edgePid);
  if (kind !== 'quiet') await abusers.begin(kind, connections);
  const beside = await send();
  const ended = kind === 'quiet' ? nobody : await abusers.end();
  const peakBytes = await peakBytesOf(edgePid);
  const after = await send();
  return { peakBytes, beside, after, afterBytes: await residentBytes(edgePid), ended };
}

function rowOf([kind, connections]: (typeof phases)[number], taken: readonly Taken[]) {
  const median = (of: (one: Taken) => number) => percentilesOf(Float64Array.from(taken, of)).p50;
  const ms = (of: (one: Taken) => number) => Number(median(of).toFixed(1));
  const mb = (of: (one: Taken) => number) => Math.round(median(of) / mib);
  return {
    beside: kind,
    connections: connections + honestConnections,
    'edge peak MiB': mb((one) => one.peakBytes),
    'honest p50 ms': ms(({ beside }) => percentilesOf(beside.latenciesMs).p50),
    'honest p99 ms': ms(({ beside }) => percentilesOf(beside.latenciesMs).p99),
    'honest refused': taken.reduce((sum, { beside }) => sum + beside.refusedIds.length, 0),
    'answers to the others': answersOf(taken),
    'p99 ms after': ms(({ after }) => percentilesOf(after.latenciesMs).p99),
    'MiB after': mb((one) => one.afterBytes),
  };
}

/** Of all rounds, by status; connections that were cut have a word of their own. */
function answersOf(taken: readonly Taken[]): string {
  const counts = new Map<string, number>();
  const add = (name: string, count: number) => counts.set(name, (counts.get(name) ?? 0) + count);
  for (const { ended } of taken) {
    for (const [status, count] of Object.entries(ended.statuses)) add(status, count);
    if (ended.closed > 0) add('closed', ended.closed);
  }
  return [...counts].map(([name, count]) => `${name}: ${count}`).join(', ');
}

/** Also what had no answer is there once at most; what was refused is not there. */
async function mustBeOnce(
  server: TestServer,
  honest: readonly PhaseResult[],
  outcomes: Uint8Array,
): Promise<{ readonly honest: number; readonly abusive: number }> {
  const sent = honest.reduce((sum, phase) => sum + phase.sent, 0);
  const refused = honest.flatMap(({ refusedIds }) => refusedIds);
  const stored = await verify(server, sent, refused);
  if (!stored.isRight) throw new Error(`honest events: ${JSON.stringify(stored)}`);
  const rowsOf = new Uint8Array(outcomes.length);
  let acknowledged = 0;
  if (outcomes.length > 0) {
    for await (const id of storedIds(server, 'abuse')) rowsOf[id] = (rowsOf[id] ?? 0) + 1;
  }
  for (const [id, what] of outcomes.entries()) {
    const rows = rowsOf[id] ?? 0;
    const isRight =
      what === outcome.acknowledged ? rows === 1 : rows <= (what === outcome.refused ? 0 : 1);
    if (!isRight) throw new Error(`event ${id} of the others: outcome ${what}, rows ${rows}`);
    if (what === outcome.acknowledged) acknowledged += 1;
  }
  return { honest: stored.acknowledged, abusive: acknowledged };
}

await runScript(main);
