import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { grouped } from '../lines.ts';
import { LoadThread } from '../load-thread.ts';
import { percentilesOf } from '../percentiles.ts';
import type { Finding, Findings } from './lines.ts';
import { edgeOnly, whole } from './millrace.ts';
import type { Contender } from './peers.ts';
import {
  interleaved,
  median,
  mustBeStored,
  oneEach,
  ratio,
  type Run,
  warmUpSeconds,
  withRunning,
} from './run.ts';

const ceilingShare = 0.5;
const probeBytes = 4_096;
const settleMs = 1_000;

type Waited = {
  readonly ratePerSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly lateP99: number;
  readonly syncP99: number;
};

/**
 * How long one sender waits while half of what can be taken is sent: an open loop, which sends
 * whether or not it was answered, so that a stall counts for all that it holds up. What nginx takes
 * at the rate of the edge, without a disk to wait for, is the machine's and the generator's share.
 */
export async function latency(run: Run): Promise<Findings> {
  const nginx = run.peers
    .flatMap(({ contenders }) => contenders)
    .find(({ name, means }) => name === 'nginx' && means === 'in memory');
  let edgeRate = 0;
  const turns = await interleaved(
    run.rounds,
    [edgeOnly, whole, ...(nginx ? [nginx] : [])],
    ({ name, setting }) => `open loop, ${name}, ${setting}`,
    async (one) => {
      const waited = await waitedFor(run, one, one === nginx ? edgeRate : undefined);
      if (one === edgeOnly) edgeRate = waited.ratePerSecond;
      return waited;
    },
  );
  const of = (one: Contender | undefined) => (one && turns.get(one)) ?? [];
  const [edge, all, others] = [of(edgeOnly), of(whole), of(nginx)];
  const { p50, p99 } = mediansOf(others);
  const beside = nginx ? `; nginx at that rate: p50 ${p50}, p99 ${p99} ms` : '';
  return {
    latency: p99Of(edge, beside),
    sync: againstSync(edge),
    latencyWhole: p99Of(all),
    syncWhole: againstSync(all),
  };
}

function p99Of(turns: readonly Waited[], beside = ''): Finding {
  const rate = median(turns.map(({ ratePerSecond }) => ratePerSecond));
  const { p50, lateP99 } = mediansOf(turns);
  const late = `sent late by the generator, p99 ${lateP99} ms`;
  const detail = `at ${grouped(rate)} events/s; p50 ${p50} ms; ${late}${beside}`;
  return { value: median(turns.map(({ p99 }) => p99)), detail };
}

function mediansOf(turns: readonly Waited[]) {
  const of = (which: keyof Waited) => median(turns.map((turn) => turn[which])).toFixed(2);
  return { p50: of('p50'), p99: of('p99'), lateP99: of('lateP99') };
}

function againstSync(turns: readonly Waited[]): Finding {
  const [mine, disk] = [turns.map(({ p99 }) => p99), turns.map(({ syncP99 }) => syncP99)];
  const detail = `fdatasync of 4 KiB alone: p99 ${median(disk).toFixed(2)} ms`;
  return { value: ratio(mine, disk), detail };
}

/** @param given events a second; without it, half of the most that there is. */
function waitedFor(run: Run, contender: Contender, given: number | undefined): Promise<Waited> {
  return withRunning(run, contender, run.servers.slice(0, 1), async (running) => {
    const { seconds, generator } = run;
    const warm = await generator.closedLoop(running.door, oneEach, warmUpSeconds);
    const closed = await generator.closedLoop(running.door, oneEach, seconds);
    const ceiling = (closed.acknowledged / closed.elapsedMs) * 1_000;
    await sleep(settleMs);
    const syncP99 = percentilesOf(await syncsMs(run.folder, seconds)).p99;
    const load = await LoadThread.open({ ...running.door, ...oneEach });
    try {
      const ratePerSecond = given ?? ceiling * ceilingShare;
      const phase = { ratePerSecond, hasCore: true };
      // A generator that is compiled as it sends falls behind, and measures that.
      const { sent: before } = await load.run({ ...phase, seconds: warmUpSeconds });
      const measured = await load.run({ ...phase, seconds });
      const { sent, refusedIds, latenciesMs, lateMs } = measured;
      if (refusedIds.length > 0) throw new Error(`${refusedIds.length} events were refused`);
      const acknowledged = warm.acknowledged + closed.acknowledged + before + sent;
      await mustBeStored(contender, running, acknowledged, 2, oneEach);
      const { p50, p99 } = percentilesOf(latenciesMs);
      return { ratePerSecond, p50, p99, lateP99: percentilesOf(lateMs).p99, syncP99 };
    } finally {
      await load.close();
    }
  });
}

/** What the disk takes when nobody else wants it, into space that the file has. */
async function syncsMs(folder: string, seconds: number): Promise<Float64Array> {
  const path = join(folder, 'sync-probe');
  const file = await open(path, 'w');
  const places = 1_024;
  await file.write(Buffer.alloc(places * probeBytes));
  await file.sync();
  const samples: number[] = [];
  const block = Buffer.alloc(probeBytes, 1);
  for (const endMs = performance.now() + seconds * 1_000; ; ) {
    const startedAtMs = performance.now();
    if (startedAtMs > endMs) break;
    await file.write(block, 0, probeBytes, (samples.length % places) * probeBytes);
    await file.datasync();
    samples.push(performance.now() - startedAtMs);
  }
  await file.close();
  await rm(path);
  return Float64Array.from(samples);
}
