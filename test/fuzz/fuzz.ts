import { setTimeout as sleep } from 'node:timers/promises';
import { createKey, type TestServer } from '../support/server.ts';
import { Dice } from './dice.ts';
import { type Http1Case, makeHttp1, type Outcome, playHttp1, type Target } from './http1.ts';
import { type FramesCase, type Http2Case, makeFrames, makeHttp2 } from './http2.ts';
import { playFrames, playHttp2 } from './http2.ts';
import { settings } from './judge.ts';
import { type Keys, type Request, seedRequests } from './seeds.ts';
import { type Peaks, Watch } from './watch.ts';

/*
 * A campaign against the real ports of a real server: requests of every form, bent and torn, over
 * HTTP/1.1 and HTTP/2, in plain and over TLS. Whatever is sent, the server lives, answers well,
 * gives no text of the sender back as a script or a page, and loses nothing.
 */

export type Case = Http1Case | Http2Case | FramesCase;

export type Finding = {
  readonly problem: string;
  readonly seed: number;
  /** Of the case; undefined for what only shows in the whole. */
  readonly index?: number;
  readonly case?: Case;
};

export type Summary = {
  readonly seed: number;
  readonly requests: number;
  readonly connections: number;
  readonly seconds: number;
  readonly answered: Readonly<Record<string, number>>;
  /** What a 503 over HTTP/1.1 said, and how often. */
  readonly busy: Readonly<Record<string, number>>;
  /** From the last request until all of it was queryable. */
  readonly catchUpSeconds: number;
  /** Of these over HTTP/2. */
  readonly answeredHttp2: number;
  /** Cases in which the server closed before every request had an answer. */
  readonly closedUnanswered: number;
  readonly peakBytes: Peaks;
  readonly series: number;
  readonly tables: number;
  readonly durable: number;
  readonly quarantined: number;
  readonly findings: readonly Finding[];
};

export type CampaignOptions = {
  readonly seed: number;
  readonly requests: number;
  /** Called now and then with the requests so far. */
  readonly progress?: (requests: number, findings: number) => void;
};

/** What a server is started with to be fuzzed. */
export const serverArgs: readonly string[] = [
  '--edges',
  '1',
  '--log-level',
  'warn',
  '--tls-self-signed',
  '--tls-port',
  '0',
  ...settings,
];

const workers = 32;
const findingsMax = 20;

export async function makeKeys(data: string): Promise<Keys> {
  const [good, origins, strict] = await Promise.all([
    createKey(data, '*'),
    createKey(data, '*', ['--origins', 'https://shop.example']),
    createKey(data, 'elsewhere', ['--strict-key']),
  ]);
  return { good, origins, strict };
}

export function makeCase(seeds: readonly Request[], seed: number, index: number): Case {
  const dice = new Dice(seed, index);
  const kind = dice.integer(1, 100);
  if (kind <= 4) return makeHttp2(seeds, dice);
  if (kind <= 6) return makeFrames(seeds, dice);
  return makeHttp1(seeds, dice);
}

export function play(target: Target, one: Case): Promise<Outcome> {
  if (one.transport === 'h2') return playHttp2(target, one);
  if (one.transport === 'frames') return playFrames(target, one);
  return playHttp1(target, one);
}

export function targetOf({ ingest, tls }: TestServer): Target {
  if (tls === undefined) throw new Error('the server has no port with TLS');
  return { plain: ingest, tls };
}

/** Runs a campaign on a server that was started with `serverArgs`; it is stopped at the end. */
export async function campaign(
  server: TestServer,
  keys: Keys,
  { seed, requests: requestsMax, progress }: CampaignOptions,
): Promise<Summary> {
  const target = targetOf(server);
  const seeds = seedRequests(keys);
  const watch = await Watch.start(server, () => requests / requestsMax);
  const startedAtMs = performance.now();
  const answered: Record<string, number> = {};
  const busy: Record<string, number> = {};
  const findings: Finding[] = [];
  let [index, requests, closedUnanswered, answeredHttp2] = [0, 0, 0, 0];

  const work = async () => {
    while (requests < requestsMax && findings.length < findingsMax && watch.isAlive()) {
      const at = index;
      index += 1;
      const one = makeCase(seeds, seed, at);
      requests += one.requests;
      const outcome = await play(target, one).catch((error: unknown): Outcome => {
        return { statuses: [], wasClosed: true, problem: `no connection: ${String(error)}` };
      });
      for (const status of outcome.statuses) answered[status] = (answered[status] ?? 0) + 1;
      if (outcome.busy !== undefined) busy[outcome.busy] = (busy[outcome.busy] ?? 0) + 1;
      if (one.transport === 'h2') answeredHttp2 += outcome.statuses.length;
      if (outcome.wasClosed) closedUnanswered += 1;
      const { problem } = outcome;
      if (problem !== undefined) findings.push({ problem, seed, index: at, case: one });
      progress?.(requests, findings.length);
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  const seconds = (performance.now() - startedAtMs) / 1000;
  // The last connections that were cut are seen as such.
  await sleep(500);
  const endedAtMs = performance.now();
  await server.flush().catch(() => undefined);
  const catchUpSeconds = (performance.now() - endedAtMs) / 1000;
  const ended = await watch.end(keys.good);
  return {
    seed,
    requests,
    connections: index,
    seconds,
    answered,
    answeredHttp2,
    busy,
    catchUpSeconds,
    closedUnanswered,
    peakBytes: ended.peakBytes,
    series: ended.series,
    tables: ended.tables,
    durable: ended.durable,
    quarantined: ended.quarantined,
    findings: [...findings, ...ended.problems.map((problem) => ({ problem, seed }))],
  };
}
