import { quietRooms, select } from './rooms.ts';

/*
 * Loads the log of a closed data directory, in a process of its own, and prints as JSON how long
 * that took and what was found then.
 */

export type Times = {
  readonly elapsedMs: number;
  /** Of all threads: on a busy machine it tells more. */
  readonly cpuMs: number;
};

export type Loaded = Times & {
  readonly rows: number;
  /** Of these with something in `_rescued_data`. */
  readonly rescued: number;
  readonly repeats: number;
  /** By reason. */
  readonly quarantined: Readonly<Record<string, number>>;
};

const [data = ''] = process.argv.slice(2);
const cpuBefore = process.cpuUsage();
const startedAtMs = performance.now();
const rooms = await quietRooms(data);
await rooms.loader.flush(rooms.orphans);
const elapsedMs = performance.now() - startedAtMs;
const { user, system } = process.cpuUsage(cpuBefore);
const cpuMs = (user + system) / 1_000;

const [[rows, rescued] = []] = await select(
  rooms,
  'SELECT count(*), count(_rescued_data) FROM bench.events',
);
const [[repeats] = []] = await select(rooms, 'SELECT sum(duplicates)::BIGINT FROM millrace.tables');
const reasons = await select(
  rooms,
  'SELECT reason, count(*) FROM millrace.quarantine GROUP BY reason',
);
const quarantined = Object.fromEntries(reasons as readonly (readonly [string, number])[]);
console.log(JSON.stringify({ elapsedMs, cpuMs, rows, rescued, repeats, quarantined }));
await rooms.close();
