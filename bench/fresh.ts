import { Agent, request } from 'node:http';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { createKey, type TestServer } from '../test/support/server.ts';
import { grouped, type Measured, type Measurement, rateShareMin } from './lines.ts';
import { onCores } from './machine.ts';
import type { PhaseResult } from './load.ts';
import { type Percentiles, percentilesOf } from './percentiles.ts';
import { progress } from './server.ts';
import { allLoaded, underLoad } from './under-load.ts';

/*
 * How soon after it was accepted an event is queryable. Beside the load single events ask to be
 * answered then (`Prefer: wait`): what is measured begins before they are on disk and ends with
 * that answer, so it is a little more.
 */

const freshMsMax = 1_000;
const ratePerSecond = 20_000;
const eventsPerRequest = 10;
const probesPerSecond = 20;
const waitSeconds = 30;

export const freshness: Measurement = {
  lines: ['fresh'],
  diskBytes: ({ seconds = 60 }) => ratePerSecond * seconds * 1_000,
  async measure({ seconds = 60 }, folder) {
    const load = { tables: ['events'], eventsPerRequest, connections: 64 };
    const [measured, isPinned] = await onCores(2, () =>
      underLoad(folder, [], load, async ({ server, run }) => {
        progress(`${seconds} s at ${ratePerSecond} events/s`);
        const key = await createKey(folder, 'bench');
        const phase = { seconds, ratePerSecond };
        const [result, probes] = await run(phase, (signal) => probe(server, key, signal));
        await allLoaded(server);
        await mustBeStored(server, probes.length);
        return judge(result, percentilesOf(probes), probes.length);
      }),
    );
    const text = isPinned ? measured.text : `${measured.text}, NOT PINNED to two: no taskset`;
    return { fresh: { ...measured, text, figures: { ...measured.figures, isPinned } } };
  },
};

function judge(
  { sent, elapsedMs, latenciesMs, lateMs }: PhaseResult,
  { p50, p99, max }: Percentiles,
  probes: number,
): Measured {
  const perSecond = (sent / elapsedMs) * 1_000;
  const acknowledgedP99Ms = percentilesOf(latenciesMs).p99;
  const sentLateP99Ms = percentilesOf(lateMs).p99;
  const text =
    `p50 ${grouped(p50)}, p99 ${grouped(p99)}, max ${grouped(max)} ms of ${probes} probes; ` +
    `${grouped(perSecond)} events/s, ${eventsPerRequest} lines a request, sender on the same cores`;
  const waited = { p50Ms: p50, p99Ms: p99, maxMs: max, probes };
  return {
    holds: p99 <= freshMsMax && perSecond >= rateShareMin * ratePerSecond,
    text,
    figures: { ...waited, perSecond, acknowledgedP99Ms, sentLateP99Ms },
  };
}

/** Sends events evenly until the signal. @returns how long each took to be queryable, ms */
async function probe(server: TestServer, key: string, signal: AbortSignal): Promise<Float64Array> {
  const agent = new Agent({ keepAlive: true });
  const answers: Promise<number>[] = [];
  const startedAtMs = performance.now();
  while (!signal.aborted) {
    const answer = probeOnce(server, agent, key, answers.length);
    // Looked at when all are sent.
    answer.catch(() => undefined);
    answers.push(answer);
    const nextMs = startedAtMs + (answers.length * 1_000) / probesPerSecond;
    const restMs = Math.max(0, nextMs - performance.now());
    await sleep(restMs, undefined, { signal }).catch(() => undefined);
  }
  const tookMs = await Promise.all(answers);
  agent.destroy();
  return Float64Array.from(tookMs);
}

async function probeOnce(
  { ingest }: TestServer,
  agent: Agent,
  key: string,
  number: number,
): Promise<number> {
  const headers = {
    'Content-Type': 'application/json',
    'X-TD-Write-Key': key,
    Prefer: `wait=${waitSeconds}`,
  };
  const startedAtMs = performance.now();
  const url = `${ingest}/postback/v3/event/bench/probes`;
  const sent = request(url, { agent, headers, method: 'POST' });
  sent.end(JSON.stringify({ number }));
  const [response] = await once(sent, 'response');
  const tookMs = performance.now() - startedAtMs;
  response.resume();
  const state = response.headers['x-millrace-state'];
  // Durable: it is not there yet, after the longest wait there is.
  if (response.statusCode !== 200 || !['queryable', 'durable'].includes(state)) {
    throw new Error(`a probe was answered ${response.statusCode}, state ${state}`);
  }
  return tookMs;
}

async function mustBeStored(server: TestServer, probes: number): Promise<void> {
  const [found] = await server.query<{ rows: number; numbers: number }>(
    'SELECT count(*) AS rows, count(DISTINCT "number") AS numbers FROM bench.probes',
  );
  if (found?.rows === probes && found.numbers === probes) return;
  throw new Error(`of ${probes} probes there is ${JSON.stringify(found)}`);
}
