import type { Times } from './load-log.ts';
import { quietRooms, select } from './rooms.ts';

/*
 * Moves the hot rows of a closed data directory into files, in a process of its own, and prints
 * as JSON how long that took and what was found then.
 */

export type Archived = Times & {
  readonly moved: number;
  /** What SQL counts. */
  readonly rows: number;
  readonly ids: number;
  readonly inFiles: number;
  readonly files: number;
  readonly bytes: number;
  /** Resident memory at most, of the whole process. */
  readonly peakBytes: number;
};

const [data = ''] = process.argv.slice(2);
const rooms = await quietRooms(data);
const cpuBefore = process.cpuUsage();
const startedAtMs = performance.now();
const moved = await rooms.loader.archivist.archive({ database: 'bench', table: 'events' });
const elapsedMs = performance.now() - startedAtMs;
const { user, system } = process.cpuUsage(cpuBefore);
const cpuMs = (user + system) / 1_000;
const peakBytes = process.resourceUsage().maxRSS * 1024;

const [[rows, ids] = []] = await select(
  rooms,
  'SELECT count(*), count(DISTINCT id) FROM bench.events',
);
const [[inFiles, files, bytes] = []] = await select(
  rooms,
  'SELECT sum(rows)::BIGINT, count(*), sum(bytes)::BIGINT FROM millrace.files',
);
const found = { moved, rows, ids, inFiles, files, bytes };
console.log(JSON.stringify({ elapsedMs, cpuMs, peakBytes, ...found }));
await rooms.close();
