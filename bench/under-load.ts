import { isDeepStrictEqual } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestServer } from '../test/support/server.ts';
import { firstId } from './events.ts';
import type { Phase, PhaseResult, Target } from './load.ts';
import { LoadThread } from './load-thread.ts';
import { serverProcesses } from './processes.ts';
import { progress, withServer } from './server.ts';

/** A server with its tables, and a load that can be run. */
export type LoadedServer = {
  readonly server: TestServer;
  readonly storePid: number;
  /** Runs the load, and something beside it until the signal. */
  readonly run: <T>(
    phase: Phase,
    beside: (signal: AbortSignal) => Promise<T>,
  ) => Promise<readonly [PhaseResult, T]>;
};

const firstSeconds = 2;
const settleEveryMs = 5_000;
/** Longer than rows stay hot with `--archive-minutes 1`. */
const settledMs = 90_000;
const settleMsMax = 15 * 60_000;
const loadedMsMax = 60 * 60_000;

/**
 * Starts a server, makes the tables by a first event each, and uses it.
 * @throws when an event was refused, is missing or is there twice afterwards, or a process died
 */
export async function underLoad<T>(
  data: string,
  args: readonly string[],
  form: Pick<Target, 'tables' | 'eventsPerRequest' | 'connections'>,
  use: (loaded: LoadedServer) => Promise<T>,
): Promise<T> {
  return withServer(data, ['--log-level', 'warn', ...args], async (server) => {
    const supervisor = server.process.pid ?? 0;
    const before = pidsOf(await serverProcesses(supervisor));
    const storePid = before.at(-1) ?? 0;
    const load = await LoadThread.start(server, form);
    let sent = 0;
    const run: LoadedServer['run'] = async (phase, beside) => {
      const stop = new AbortController();
      const sending = load.run(phase).finally(() => stop.abort());
      const both = await Promise.all([sending, beside(stop.signal)]);
      const refused = both[0].refusedIds.length;
      if (refused > 0) throw new Error(`${refused} events were refused:\n${server.stderr()}`);
      sent += both[0].sent;
      return both;
    };
    progress('first events');
    const first = form.tables.length * form.eventsPerRequest;
    const atFirst = { seconds: firstSeconds, ratePerSecond: first / firstSeconds };
    await run(atFirst, () => Promise.resolve());
    await allLoaded(server);
    const result = await use({ server, storePid, run });
    await allLoaded(server);
    await load.close();
    if (!isDeepStrictEqual(pidsOf(await serverProcesses(supervisor)), before)) {
      throw new Error(`a process of the server was restarted:\n${server.stderr()}`);
    }
    progress('checking what is stored');
    await mustBeOnce(server, form.tables, sent);
    return result;
  });
}

function pidsOf(processes: Awaited<ReturnType<typeof serverProcesses>>): readonly number[] {
  return processes.map(({ pid }) => pid);
}

/** Waits until all that was acknowledged is queryable, also when that takes longer than a flush. */
export async function allLoaded(server: TestServer): Promise<void> {
  const startedAtMs = performance.now();
  while ((await waitingBytes(server)) > 0 && performance.now() - startedAtMs < loadedMsMax) {
    await sleep(1_000);
  }
  await server.flush();
}

async function waitingBytes(server: TestServer): Promise<number> {
  const response = await fetch(`${server.admin}/status`);
  return ((await response.json()) as { waiting: { bytes: number } }).waiting.bytes;
}

/** Ids count up, so these numbers are right only if each is in one row. */
async function mustBeOnce(
  server: TestServer,
  tables: readonly string[],
  sent: number,
): Promise<void> {
  const all = tables.map((name) => `SELECT id FROM bench.${name}`).join(' UNION ALL ');
  const [found] = await server.query(`
    SELECT count(*) AS rows, count(DISTINCT id) AS ids, min(id) AS least, max(id) AS most
    FROM (${all})`);
  const expected = { rows: sent, ids: sent, least: firstId, most: firstId + sent - 1 };
  if (isDeepStrictEqual(found, expected)) return;
  const seen = `found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`;
  throw new Error(`events are missing or there twice: ${seen}`);
}

/** Files of one table and day, where they are most. */
export async function filesOfTableDay(server: TestServer): Promise<number> {
  return (await filesNow(server)).most;
}

/** The same, once no file was written for longer than rows stay hot. */
export async function settledFiles(server: TestServer): Promise<number> {
  let last = await filesNow(server);
  let stillSinceMs = performance.now();
  const startedAtMs = stillSinceMs;
  while (performance.now() - stillSinceMs < settledMs) {
    await sleep(settleEveryMs);
    const now = await filesNow(server);
    if (!isDeepStrictEqual(now, last)) stillSinceMs = performance.now();
    last = now;
    if (performance.now() - startedAtMs > settleMsMax) throw new Error('files do not settle');
  }
  return last.most;
}

async function filesNow(server: TestServer) {
  const [found] = await server.query<{ most: number; latest: string }>(`
    SELECT coalesce(max(files), 0)::INTEGER AS most, max(latest)::VARCHAR AS latest FROM (
      SELECT count(*) AS files, max(written_at) AS latest FROM millrace.files
      GROUP BY "database", "table", day)`);
  return found ?? { most: 0, latest: '' };
}
