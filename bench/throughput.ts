import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Archived } from './archive-table.ts';
import { grouped, type Measured, type Measurement } from './lines.ts';
import { archiveTable, loadLog } from './loading.ts';
import type { Times } from './load-log.ts';
import { onCores } from './machine.ts';
import { prepareLog } from './misfit-log.ts';
import { medianOf } from './percentiles.ts';
import { progress } from './server.ts';

/*
 * From the log to hot rows, and from there to files: each in a process of its own on one core.
 */

const [loadMin, archiveMin, bytesMax] = [250_000, 300_000, 20];

export const throughput: Measurement = {
  lines: ['load', 'archive', 'bytes'],
  // The log, the hot rows and the files.
  diskBytes: ({ events }) => events * 1_000,
  async measure({ events, rounds }, folder, chosen) {
    progress(`a log of ${events} events`);
    const log = await prepareLog('events', join(folder, 'log'), events, []);
    const loads: Times[] = [];
    const archives: Archived[] = [];
    const [, isPinned] = await onCores(1, async () => {
      for (let round = 1; round <= rounds; round += 1) {
        progress(`load and archive, round ${round} of ${rounds}`);
        const data = join(folder, 'loaded');
        loads.push(await loadLog(log, data));
        if (chosen.has('archive') || chosen.has('bytes')) {
          archives.push(await archiveTable(data, events));
        }
        await rm(data, { recursive: true });
      }
    });
    const bytes = (archives[0]?.bytes ?? NaN) / events;
    return {
      load: speedOf(loads, events, isPinned, loadMin),
      archive: speedOf(archives, events, isPinned, archiveMin),
      bytes: { holds: bytes <= bytesMax, text: bytes.toFixed(1), figures: { bytes } },
    };
  },
};

/** By the median round. */
function speedOf(
  rounds: readonly Times[],
  events: number,
  isPinned: boolean,
  perSecondMin: number,
): Measured {
  const { elapsedMs, cpuMs } = medianOf(rounds);
  const perSecond = (events / elapsedMs) * 1_000;
  const cpuMicroseconds = (cpuMs / events) * 1_000;
  const cpu = `${cpuMicroseconds.toFixed(2)} µs of a processor each`;
  const pinned = isPinned ? '' : ', NOT PINNED to one core: no taskset';
  return {
    holds: perSecond >= perSecondMin && isPinned,
    text: `${grouped(perSecond)} events/s, ${cpu}${pinned}`,
    figures: { perSecond, cpuMicroseconds, isPinned },
  };
}
