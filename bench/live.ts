import { limits } from '../src/base/index.ts';
import { freshness } from './fresh.ts';
import { grouped, type Measured, type Measurement, rateShareMin } from './lines.ts';
import { percentilesOf } from './percentiles.ts';
import { sampleLag, sampleMemory } from './samples.ts';
import { progress } from './server.ts';
import { filesOfTableDay, settledFiles, underLoad } from './under-load.ts';

/* What a real server does under a load that goes on: an open loop at a rate. */

const [memoryMax, growthMax, lagMsMax] = [1.5e9, 1.1, 2_000];
/** Rows become files every minute, so that there is much to merge. */
const serve = ['--archive-minutes', '1'];
const mb = 1_000_000;

const steady: Measurement = {
  lines: ['steady'],
  // The files, what is merged of them meanwhile, the log and the hot rows of some minutes.
  diskBytes: ({ rate, minutes }) => rate * 60 * (2 * 30 * minutes + 10 * 1_000),
  async measure({ rate, minutes }, folder) {
    const load = { tables: ['events'], eventsPerRequest: 10, connections: 64 };
    return underLoad(folder, serve, load, async ({ storePid, run, server }) => {
      progress(`${minutes} minutes at ${rate} events/s`);
      const phase = { seconds: minutes * 60, ratePerSecond: rate };
      const [result, memory] = await run(phase, (signal) => sampleMemory(storePid, signal));
      const files = await filesOfTableDay(server);
      const third = Math.floor(memory.length / 3);
      const medianOf = (from: number) => percentilesOf(memory.slice(from, from + third)).p50;
      const [middle, last] = [medianOf(third), medianOf(memory.length - third)];
      const { max: peak } = percentilesOf(memory);
      const growth = last / middle;
      const thirds = `last third ${growth.toFixed(2)} × the middle one`;
      const perSecond = (result.sent / result.elapsedMs) * 1_000;
      const size = (bytes: number) => `${grouped(bytes / mb)} MB`;
      const measured: Measured = {
        holds: peak <= memoryMax && growth <= growthMax && perSecond >= rateShareMin * rate,
        text:
          `peak ${size(peak)}, ${thirds} (${size(middle)}); ` +
          `${grouped(result.sent)} events in ${minutes} min, ${files} files a day at most`,
        figures: { peakBytes: peak, growth, middleBytes: middle, perSecond, files },
      };
      return { steady: measured };
    });
  },
};

const manyTables: Measurement = {
  lines: ['tables'],
  diskBytes: ({ tables, seconds = 120 }) => tables * (seconds * 1_000 + mb),
  async measure({ tables: count, seconds = 120 }, folder) {
    const tables = Array.from(
      { length: count },
      (_, index) => `t${String(index).padStart(6, '0')}`,
    );
    const load = { tables, eventsPerRequest: 1, connections: 64 };
    return underLoad(folder, serve, load, async ({ run, server }) => {
      progress(`${count} tables for ${seconds} s`);
      const phase = { seconds, ratePerSecond: count };
      const [{ elapsedMs, sent }, lags] = await run(phase, (signal) => sampleLag(server, signal));
      const { p50, p99, max } = percentilesOf(lags);
      const before = await filesOfTableDay(server);
      progress('archive and compaction');
      const after = await settledFiles(server);
      const perSecond = (sent / elapsedMs) * 1_000;
      const [atMost, nearly, half] = [max, p99, p50].map((ms) => (ms / 1_000).toFixed(2));
      const isInTime = max <= lagMsMax && perSecond >= rateShareMin * count;
      const measured: Measured = {
        holds: isInTime && after <= limits.dayFilesMax,
        text:
          `lag ${atMost} s at most (p99 ${nearly}, p50 ${half}); ${count} tables, ` +
          `${grouped(perSecond)} events/s; files a table and day: ${before}, then ${after}`,
        figures: { lagMsMax: max, lagMsP99: p99, lagMsP50: p50, perSecond, before, after },
      };
      return { tables: measured };
    });
  },
};

export const live: readonly Measurement[] = [freshness, steady, manyTables];
