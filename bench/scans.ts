import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Rooms } from '../src/app.ts';
import { type Days, days, makeDays } from './days.ts';
import { grouped, type Measured, type Measurement } from './lines.ts';
import type { Times } from './load-log.ts';
import { medianOf } from './percentiles.ts';
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
  async measure({ rows, rounds: asked }, folder, chosen) {
    const table = await makeDays(folder, rows);
    const rounds = Math.max(roundsMin, asked);
    const rooms = await quietRooms(table.data);
    try {
      progress('checking the table');
      await mustBeWhole(rooms, table.rows);
      return {
        ...(chosen.has('groupby') && { groupby: await groupBy(rooms, table, rounds) }),
        ...(chosen.has('hour') && { hour: await oneHour(rooms, table, rounds) }),
      };
    } finally {
      await rooms.close();
    }
  },
};

async function mustBeWhole(rooms: Rooms, rows: number): Promise<void> {
  const [counts] = await select(rooms, 'SELECT count(*), count(DISTINCT id) FROM bench.events');
  if (isDeepStrictEqual(counts, [rows, rows])) return;
  throw new Error(`rows and ids: ${JSON.stringify(counts)}, expected ${rows} of each`);
}

async function groupBy(rooms: Rooms, { data, rows }: Days, rounds: number): Promise<Measured> {
  progress('a group-by');
  const files = await select(rooms, 'SELECT path FROM millrace.files ORDER BY path');
  const paths = files.map(([path]) => `'${join(data, 'lake', path as string)}'`);
  const query = (from: string) => `
    SELECT kind, is_member, count(*)::INTEGER, round(avg(price), 6), max(quantity)::INTEGER
    FROM ${from} GROUP BY ALL ORDER BY ALL`;
  const duck = await PlainDuck.open();
  try {
    const compared = await inTurn(
      rounds,
      () => select(rooms, query('bench.events')),
      () => duck.rows(query(`read_parquet([${paths.join(', ')}], hive_partitioning = false)`)),
    );
    if (!isDeepStrictEqual(compared.answer, compared.otherAnswer)) {
      const { answer, otherAnswer } = compared;
      throw new Error(`the table says ${JSON.stringify(answer)}, ${JSON.stringify(otherAnswer)}`);
    }
    return ratioOf(compared, rows, groupByMax, ['by the table', 'by its files']);
  } finally {
    duck.close();
  }
}

async function oneHour(rooms: Rooms, { rows, firstDay }: Days, rounds: number): Promise<Measured> {
  progress('one hour');
  const all = 'SELECT count(*), avg(price) FROM bench.events';
  const from = (firstDay + days / 2) * 86_400 + 12 * 3_600;
  const compared = await inTurn(
    rounds,
    () => select(rooms, `${all} WHERE time >= ${from} AND time < ${from + 3_600}`),
    () => select(rooms, all),
  );
  const [inHour, inAll] = [Number(compared.answer[0]?.[0]), Number(compared.otherAnswer[0]?.[0])];
  // Rows are evenly in time: at both ends one can be on either side.
  const isRight = Math.abs(inHour - rows / days / 24) <= 2 && inAll === rows;
  if (!isRight) throw new Error(`${inHour} rows in an hour of ${inAll}, which are ${rows}`);
  return ratioOf(compared, rows, hourMax, ['the hour', 'all']);
}

type Answer = readonly (readonly unknown[])[];
type Compared = {
  readonly answer: Answer;
  readonly otherAnswer: Answer;
  readonly times: Times;
  readonly otherTimes: Times;
};

/** Two queries in turn, after one round that does not count. */
async function inTurn(
  rounds: number,
  one: () => Promise<Answer>,
  other: () => Promise<Answer>,
): Promise<Compared> {
  const [answer, otherAnswer] = [await one(), await other()];
  const [times, otherTimes]: [Times[], Times[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    times.push(await timesOf(one));
    otherTimes.push(await timesOf(other));
  }
  return { answer, otherAnswer, times: medianOf(times), otherTimes: medianOf(otherTimes) };
}

async function timesOf(work: () => Promise<unknown>): Promise<Times> {
  const cpuBefore = process.cpuUsage();
  const startedAtMs = performance.now();
  await work();
  const elapsedMs = performance.now() - startedAtMs;
  const { user, system } = process.cpuUsage(cpuBefore);
  return { elapsedMs, cpuMs: (user + system) / 1_000 };
}

function ratioOf(
  { times, otherTimes }: Compared,
  rows: number,
  max: number,
  names: readonly [string, string],
): Measured {
  const ratio = times.elapsedMs / otherTimes.elapsedMs;
  const cpuRatio = times.cpuMs / otherTimes.cpuMs;
  const [ms, otherMs] = [times.elapsedMs, otherTimes.elapsedMs];
  const both = `${ms.toFixed(1)} ms ${names[0]}, ${otherMs.toFixed(1)} ms ${names[1]}`;
  const ratios = `${ratio.toFixed(3)} × (of a processor ${cpuRatio.toFixed(3)} ×)`;
  return {
    holds: ratio <= max,
    text: `${ratios}: ${both}, ${grouped(rows)} rows`,
    figures: { ratio, cpuRatio, ms, otherMs, rows },
  };
}
