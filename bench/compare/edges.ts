import { mkdir, readFile, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomIds, systemClock } from '../../src/base/index.ts';
import { encodeSubmission, fingerprintOf } from '../../src/event/index.ts';
import { createKey } from '../../src/keys/index.ts';
import { TestServer } from '../../test/support/server.ts';
import { eventBytes, firstId, writeEvent } from '../events.ts';
import { grouped } from '../lines.ts';
import { database } from '../load.ts';
import { LoadThread } from '../load-thread.ts';
import { openLog } from '../misfit-log.ts';
import { forgetPeak, peakBytesOf, residentBytes } from '../processes.ts';
import { progress, whileUsed } from '../server.ts';
import type { Findings } from './lines.ts';
import { startMillrace } from './millrace.ts';
import { freePort, host, pinned } from './programs.ts';
import { median, type Run, withRunning } from './run.ts';

/* Of an edge: its memory with many connections, and how soon it is there. */

const connections = 10_000;
const memoryRatePerSecond = 10_000;
const openFilesMin = 11_000;
const mb = 1_000_000;

/** All connections are used in turn, so that none is idle for long. */
export async function memory(run: Run): Promise<Findings> {
  const openFiles = Number(
    /^Max open files +\d+ +(\d+)/m.exec(await readFile('/proc/self/limits', 'utf8'))?.[1],
  );
  if (openFiles < openFilesMin) {
    return { memory: { missing: `${openFiles} open files are allowed: ulimit -Hn 20000` } };
  }
  const contender = {
    start: (data: string, cores: readonly number[]) => startMillrace(data, cores, 'edge'),
  };
  return withRunning(run, contender, run.servers.slice(0, 1), async ({ door, edgePids }) => {
    const [edge = 0] = edgePids;
    progress(`${connections} connections`);
    const before = await residentBytes(edge);
    const load = await LoadThread.open({ ...door, connections });
    try {
      const phase = { seconds: run.seconds, ratePerSecond: memoryRatePerSecond };
      const { sent, refusedIds, elapsedMs } = await load.run(phase);
      if (refusedIds.length > 0) throw new Error(`${refusedIds.length} events were refused`);
      const peak = await peakBytesOf(edge);
      await forgetPeak(edge);
      await load.run({ seconds: run.seconds });
      const all = await peakBytesOf(edge);
      const detail =
        `peak at ${grouped((sent / elapsedMs) * 1_000)} events/s; ${grouped(before / mb)} MB ` +
        `before them; ${grouped(all / mb)} MB when each has a request under way`;
      return { memory: { value: peak / mb, detail } };
    } finally {
      await load.close();
    }
  });
}

const eventsOfRecord = 1_000;
const recordsAtOnce = 100;
const [tryEveryMs, startMsMax] = [5, 120_000];

/** From the start of the process to the first 200, behind a log that nobody has loaded. */
export async function start(run: Run): Promise<Findings> {
  const data = join(run.folder, 'unloaded');
  progress(`a log of ${grouped(run.logBytes / mb)} MB`);
  const key = await unloadedLog(data, run.logBytes);
  const secondsOf: number[] = [];
  for (let round = 1; round <= run.rounds; round += 1) {
    progress(`start, round ${round} of ${run.rounds}`);
    secondsOf.push(await secondsToAnswer(data, key, run.servers.slice(0, 1)));
  }
  await rm(data, { recursive: true });
  const detail = `${grouped(run.logBytes / mb)} MB of log, in the memory of the system`;
  return { start: { value: median(secondsOf), detail } };
}

async function secondsToAnswer(
  data: string,
  key: string,
  cores: readonly number[],
): Promise<number> {
  const port = await freePort();
  const stop = new AbortController();
  const startedAtMs = performance.now();
  const answered = firstAnswer(port, key, stop.signal).then(() => performance.now());
  answered.catch(() => undefined);
  const args = ['--log-level', 'error', '--edges', '1', '--port', String(port)];
  try {
    return await whileUsed(
      () => TestServer.start(data, args, pinned(cores)),
      async () => ((await answered) - startedAtMs) / 1_000,
      // It is not to be loaded: the next round wants it too.
      (server) => server.kill(),
    );
  } finally {
    stop.abort();
  }
}

async function firstAnswer(port: number, key: string, signal: AbortSignal): Promise<void> {
  for (const startedAtMs = performance.now(); !signal.aborted; await sleep(tryEveryMs)) {
    if ((await post(port, key)) === 200) return;
    if (performance.now() - startedAtMs > startMsMax) throw new Error('the edge does not answer');
  }
}

/** The status; undefined while nobody is there. */
function post(port: number, key: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const headers = { 'Content-Type': 'application/json', 'X-TD-Write-Key': key };
    const options = { host, port, path: `${database}events`, method: 'POST', headers };
    const asked = request({ ...options, agent: false }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode));
    });
    asked.once('error', () => resolve(undefined)).end('{"id":1}');
  });
}

/** As an edge leaves it that took batches while the store was down. @returns the key */
async function unloadedLog(data: string, bytes: number): Promise<string> {
  await mkdir(data);
  const nowMs = systemClock.nowMs();
  const { key } = await createKey(data, { database: 'bench' }, randomIds, nowMs);
  const bodies = Array.from({ length: eventsOfRecord }, (_, index) => {
    const body = Buffer.alloc(eventBytes);
    writeEvent(body, 0, firstId + index);
    return body;
  });
  const record = encodeSubmission({
    dialect: 'postback',
    receivedAtMs: nowMs,
    fingerprint: fingerprintOf(key),
    context: {},
    groups: [{ database: 'bench', table: 'events', bodies }],
  });
  const { log, close } = await openLog(data);
  for (let rest = Math.ceil(bytes / record.length); rest > 0; rest -= recordsAtOnce) {
    const count = Math.min(rest, recordsAtOnce);
    await Promise.all(Array.from({ length: count }, () => log.append(record)));
  }
  await close();
  return key;
}
