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
  readonly ceiling: number;
  readonly p50: number;
  readonly p99: number;
  readonly lateP99: number;
  readonly syncP99: number;
};

/**
 * How long one sender waits while half of what can be taken is sent: an open loop, which sends
 * whether or not it was answered, so that a stall counts for all that it holds up.
 */
export async function latency(run: Run): Promise<Findings> {
  const turns = await interleaved(
    run.rounds,
    [edgeOnly, whole],
    ({ setting }) => `open loop, ${setting}`,
    (one) => waitedFor(run, one),
  );
  const [edge, all] = [turns.get(edgeOnly) ?? [], turns.get(whole) ?? []];
  return {
    latency: p99Of(edge),
    sync: againstSync(edge),
    latencyWhole: p99Of(all),
    syncWhole: againstSync(all),
  };
}

function p99Of(turns: readonly Waited[]): Finding {
  const of = (which: keyof Waited) => median(turns.map((turn) => turn[which]));
  const rate = `${grouped(of('ceiling') * ceilingShare)} of ${grouped(of('ceiling'))} events/s`;
  const late = `sent late by the generator, p99 ${of('lateP99').toFixed(2)} ms`;
  const detail = `at ${rate}; p50 ${of('p50').toFixed(2)} ms; ${late}`;
  return { value: of('p99'), detail };
}

function againstSync(turns: readonly Waited[]): Finding {
  const [mine, disk] = [turns.map(({ p99 }) => p99), turns.map(({ syncP99 }) => syncP99)];
  const detail = `fdatasync of 4 KiB alone: p99 ${median(disk).toFixed(2)} ms`;
  return { value: ratio(mine, disk), detail };
}

function waitedFor(run: Run, contender: Contender): Promise<Waited> {
  return withRunning(run, contender, run.servers.slice(0, 1), async (running) => {
    const { seconds, generator } = run;
    const warm = await generator.closedLoop(running.door, oneEach, warmUpSeconds);
    const closed = await generator.closedLoop(running.door, oneEach, seconds);
    const ceiling = (closed.acknowledged / closed.elapsedMs) * 1_000;
    await sleep(settleMs);
    const syncP99 = percentilesOf(await syncsMs(run.folder, seconds)).p99;
    const load = await LoadThread.open({ ...running.door, ...oneEach });
    try {
      const phase = { seconds, ratePerSecond: ceiling * ceilingShare };
      const { sent, refusedIds, latenciesMs, lateMs } = await load.run(phase);
      if (refusedIds.length > 0) throw new Error(`${refusedIds.length} events were refused`);
      const acknowledged = warm.acknowledged + closed.acknowledged + sent;
      await mustBeStored(contender, running, acknowledged, 2, oneEach);
      const { p50, p99 } = percentilesOf(latenciesMs);
      return { ceiling, p50, p99, lateP99: percentilesOf(lateMs).p99, syncP99 };
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
