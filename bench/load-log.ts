import { openRooms } from '../src/app.ts';

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
const kept = { quarantineBytes: Number.MAX_SAFE_INTEGER, quarantineDays: 36_500 };
const quiet = { logLevel: 'error', alarmWebhook: undefined } as const;
const cpuBefore = process.cpuUsage();
const startedAtMs = performance.now();
const rooms = await openRooms({ data, edges: 0, diskReserve: 0, ...kept, ...quiet });
await rooms.loader.flush(rooms.orphans);
const elapsedMs = performance.now() - startedAtMs;
const { user, system } = process.cpuUsage(cpuBefore);
const cpuMs = (user + system) / 1_000;

const [[rows, rescued] = []] = await select(
  'SELECT count(*), count(_rescued_data) FROM bench.events',
);
const [[repeats] = []] = await select('SELECT sum(duplicates)::BIGINT FROM millrace.tables');
const reasons = await select('SELECT reason, count(*) FROM millrace.quarantine GROUP BY reason');
const quarantined = Object.fromEntries(reasons);
console.log(JSON.stringify({ elapsedMs, cpuMs, rows, rescued, repeats, quarantined }));
await rooms.close();

async function select(sql: string) {
  const reader = await rooms.store.reader();
  const found = [];
  for await (const some of (await reader.select(sql)).rows) found.push(...some);
  reader.close();
  return found;
}
