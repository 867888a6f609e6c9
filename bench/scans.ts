import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { days, makeDays } from './days.ts';
import type { Measured, Measurement } from './lines.ts';
import { percentilesOf } from './percentiles.ts';
import { PlainDuck } from './plain-duck.ts';
import { quietRooms, select } from './rooms.ts';
import { progress } from './server.ts';

/* What a table costs its readers: against DuckDB on its files, and one hour against all of it. */

const [groupByMax, hourMax] = [1.15, 0.1];
const roundsMin = 5;

export const scans: Measurement = {
  lines: ['groupby', 'hour'],
  // The copies, and the log of a day with its hot rows.
  diskBytes: ({ rows }) => rows * 30 + (rows / days) * 1_000,
  async measure({ rows: asked, rounds: askedRounds }, folder, chosen) {
    const { data, rows, firstDay } = await makeDays(folder, asked);
    const rounds = Math.max(roundsMin, askedRounds);
    const rooms = await quietRooms(data);
    const duck = await PlainDuck.open();
    try {
      const files = await select(rooms, 'SELECT path FROM millrace.files ORDER BY path');
      const paths = files.map(([path]) => `'${join(data, 'lake', String(path))}'`);
      const ofTable = (sql: string) => () => select(rooms, sql);
      const ofFiles = (sql: string) => () => duck.rows(sql);
      const [[counted, ids] = []] = await select(
        rooms,
        'SELECT count(*), count(DISTINCT id) FROM bench.events',
      );
      if (counted !== rows || ids !== rows) {
        throw new Error(`${String(counted)} rows with ${String(ids)} ids instead of ${rows}`);
      }
      const found: { groupby?: Measured; hour?: Measured } = {};
      if (chosen.has('groupby')) {
        progress('group-by');
        const query = (from: string) => `
          SELECT kind, is_member, count(*)::INTEGER AS n, round(avg(price), 6) AS average,
            max(quantity)::INTEGER AS most
          FROM ${from} GROUP BY ALL ORDER BY ALL`;
        const direct = `read_parquet([${paths.join(', ')}], hive_partitioning = false)`;
        const times = await inTurn(rounds, ofTable(query('bench.events')), ofFiles(query(direct)));
        if (!isDeepStrictEqual(times.answer, times.otherAnswer)) {
          throw new Error('the table and its files answer a group-by differently');
        }
        found.groupby = ratioOf(times, groupByMax, 'by the table', 'by its files', rows);
      }
      if (chosen.has('hour')) {
        progress('one hour');
        const query = 'SELECT count(*) AS n, avg(price) FROM bench.events';
        const from = (firstDay + Math.floor(days / 2)) * 86_400 + 12 * 3_600;
        const hour = `${query} WHERE time >= ${from} AND time < ${from + 3_600}`;
        const times = await inTurn(rounds, ofTable(hour), ofTable(query));
        const [ofHour, ofAll] = [Number(times.answer[0]?.[0]), Number(times.otherAnswer[0]?.[0])];
        // Rows are evenly in time: at both ends one can be on either side.
        const isHour = Math.abs(ofHour - rows / days / 24) <= 2;
        if (!isHour || ofAll !== rows) throw new Error(`${ofHour} rows of ${ofAll} in an hour`);
        found.hour = ratioOf(times, hourMax, 'the hour', 'all', rows);
      }
      return found;
    } finally {
      duck.close();
      await rooms.close();
    }
  },
};

type Answer = readonly (readonly unknown[])[];
type Compared = {
  readonly answer: Answer;
  readonly otherAnswer: Answer;
  readonly ms: number;
  readonly otherMs: number;
};

/** Two queries in turn, after one round that does not count. */
async function inTurn(
  rounds: number,
  one: () => Promise<Answer>,
  other: () => Promise<Answer>,
): Promise<Compared> {
  const [answer, otherAnswer] = [await one(), await other()];
  const [ms, otherMs]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    ms.push(await msOf(one));
    otherMs.push(await msOf(other));
  }
  const median = (samples: readonly number[]) => percentilesOf(Float64Array.from(samples)).p50;
  return { answer, otherAnswer, ms: median(ms), otherMs: median(otherMs) };
}

async function msOf(work: () => Promise<unknown>): Promise<number> {
  const startedAtMs = performance.now();
  await work();
  return performance.now() - startedAtMs;
}

function ratioOf(
  { ms, otherMs }: Compared,
  max: number,
  name: string,
  otherName: string,
  rows: number,
): Measured {
  const ratio = ms / otherMs;
  const both = `${ms.toFixed(1)} ms ${name}, ${otherMs.toFixed(1)} ms ${otherName}`;
  return {
    holds: ratio <= max,
    text: `${ratio.toFixed(3)} ×: ${both}, ${rows.toLocaleString('en-US')} rows`,
    figures: { ratio, ms, otherMs, rows },
  };
}
