import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDays } from '../days.ts';
import { grouped } from '../lines.ts';
import type { Phase } from '../load.ts';
import { LoadThread } from '../load-thread.ts';
import { cpuMsOf } from '../processes.ts';
import { progress, whileUsed } from '../server.ts';
import { allLoaded } from '../under-load.ts';
import type { Finding, Findings } from './lines.ts';
import { type Started, startMillrace } from './millrace.ts';
import {
  interleaved,
  median,
  oneEach,
  ratio,
  type Run,
  warmUpSeconds,
  withRunning,
} from './run.ts';

/* What an event costs, from its request to its row, as there is more of everything. */

/** What an event cost all processes of a server together, µs of a processor. */
async function costOf(run: Run, started: Started, names: readonly string[]): Promise<number> {
  const { connections } = oneEach;
  const load = await LoadThread.open({ ...started.door, connections, tables: names });
  try {
    const send = async (phase: Phase) => {
      const { sent, refusedIds } = await load.run(phase);
      if (refusedIds.length > 0) throw new Error(`${refusedIds.length} events were refused`);
      await allLoaded(started.server);
      return sent;
    };
    // One event makes each table.
    await send({ seconds: warmUpSeconds, ratePerSecond: names.length / warmUpSeconds });
    await send({ seconds: warmUpSeconds });
    const before = await cpuMsOf(started.pid);
    const sent = await send({ seconds: run.seconds });
    return (((await cpuMsOf(started.pid)) - before) / sent) * 1_000;
  } finally {
    await load.close();
  }
}

export async function tables(run: Run): Promise<Findings> {
  const counts = [1, run.tables] as const;
  const costs = await interleaved(
    run.rounds,
    counts,
    (count) => `${count} table(s)`,
    (count) => {
      const names = tableNames(count);
      const contender = {
        start: (data: string, cores: readonly number[]) => startMillrace(data, cores, 'all'),
      };
      return withRunning(run, contender, run.servers.slice(0, 1), (started) => {
        return costOf(run, started, names);
      });
    },
  );
  return { tables: growth(counts, costs, 'table(s)') };
}

export async function rows(run: Run): Promise<Findings> {
  const [few, many] = run.rows;
  const counts = [few, many] as const;
  const data = new Map<number, string>();
  for (const count of counts) {
    progress(`${grouped(count)} rows`);
    const folder = join(run.folder, `rows-${count}`);
    await mkdir(folder);
    const made = await makeDays(folder, count);
    data.set(count, made.data);
  }
  const costs = await interleaved(
    run.rounds,
    counts,
    (count) => `${grouped(count)} rows`,
    (count) =>
      whileUsed(
        () => startMillrace(data.get(count) ?? '', run.servers.slice(0, 1), 'all'),
        (started) => costOf(run, started, ['events']),
        ({ stop }) => stop(),
      ),
  );
  return { rows: growth(counts, costs, 'rows') };
}

/** Names of one length. */
export function tableNames(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `t${String(index).padStart(6, '0')}`);
}

function growth(
  counts: readonly [number, number],
  costs: ReadonlyMap<number, readonly number[]>,
  what: string,
): Finding {
  const [few = [], many = []] = counts.map((count) => costs.get(count));
  const texts = [few, many].map((values, index) => {
    return `${median(values).toFixed(1)} µs with ${grouped(counts[index] ?? 0)} ${what}`;
  });
  return {
    value: ratio(many, few),
    detail: `${texts.toReversed().join(', ')}: edge, loader and store`,
  };
}
