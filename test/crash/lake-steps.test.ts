import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { limits } from '../../src/base/index.ts';
import { eventually } from '../support/eventually.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';
import {
  ask,
  booksMustBe,
  command,
  isWhole,
  patientMs,
  killAtSteps,
  type StepRun,
} from '../support/steps.ts';

/*
 * The store is killed at each of its calls of the SQL engine and of the disk, while files are
 * written, merged and removed: the same rows before and after, each once, in files that the
 * catalog names and nothing else. See `steps.test.ts`.
 */

const timeoutMs = isWhole ? 3_600_000 : 300_000;
const stranger = `1/${'0123456789'.repeat(4)}`;
const daySeconds = 86_400;
/** Rows of the table whose files are merged, and of the one that is archived and erased. */
const [merged, mixed] = [limits.dayFilesMax, 6];
const rows = `
  SELECT n, time, _receipt, 'visits' AS "table" FROM lake.visits
  UNION ALL SELECT n, time, _receipt, 'orders' FROM lake.orders ORDER BY _receipt`;

test(
  'rows are in files once, whichever step the store is killed at',
  async () => {
    await using template = await temporaryDirectory();
    const before = await prepare(template.path);
    const scenario = async (run: StepRun) => {
      await run.arm();
      const server = await run.start();
      await archiveAll(server);
      await compacted(server);
      const asked = { database: 'lake', table: 'orders', where: 'n IN (1, 3, 5, 100)' };
      expect(await command(server, 'tables/erase', asked)).toMatchObject({ status: 200 });
      const kept = { database: 'lake', table: 'visits', seconds: 5 * daySeconds };
      expect(await command(server, 'retention/set', kept)).toMatchObject({ status: 200 });
      await expired(server);
      await run.disarm();
      await mustBeLeft(run, server, before);
    };
    const name = 'the lake';
    // There are many steps, and each run takes some seconds.
    const loop = { name, template: template.path, stride: 51, scenario };
    const { kills, steps } = await killAtSteps(loop);
    expect(steps).toBeGreaterThanOrEqual(100);
    expect(kills).toBeGreaterThanOrEqual(4);
  },
  timeoutMs,
);

/** One day with files to be merged, and a table with hot rows and events in quarantine. */
async function prepare(data: string) {
  const key = await createKey(data, 'lake');
  await using server = await TestServer.start(data);
  const now = Math.floor(Date.now() / 1000);
  const post = async (table: string, body: object, by = key) => {
    const sent = await server.post(`lake/${table}`, body, { 'X-TD-Write-Key': by });
    expect(sent.status).toBe(200);
  };
  for (let n = 0; n < merged; n += 1) {
    await post('visits', { n, td_record_time: now - 3 * daySeconds });
    // The last one stays hot: it is archived, and merged with the others, under the kills.
    if (n < merged - 1) expect(await archive(server)).toMatchObject({ rows: 1 });
  }
  await post('visits', { n: -1, td_record_time: now - 6 * daySeconds });
  for (let n = 0; n < mixed; n += 1) {
    await post('orders', { n, td_record_time: now - (n % 2) * daySeconds });
  }
  await post('orders', { n: 100 }, stranger);
  await post('orders', { n: 'rescued', other: 1, N: 3 });
  await server.flush();
  const all = await server.query(rows);
  expect(all).toHaveLength(merged + 1 + mixed + 1);
  await server.kill();
  return all as readonly { n: number | null; table: string }[];
}

async function archive(server: TestServer): Promise<unknown> {
  const headers = { 'Content-Type': 'application/json' };
  const asked = { method: 'POST', headers, body: '{}' };
  return (await fetch(`${server.admin}/tables/archive`, asked)).json();
}

async function archiveAll(server: TestServer): Promise<void> {
  expect(await command(server, 'tables/archive', {})).toMatchObject({ status: 200 });
}

/** By itself: the day is over. */
function compacted(server: TestServer) {
  const isDone = async () => {
    const files = await server.query(`FROM millrace.files WHERE "table" = 'visits'`);
    return files.length === 2;
  };
  return eventually('files are merged', isDone, patientMs);
}

/** By itself: what is older than its retention. */
function expired(server: TestServer) {
  const isDone = async () => {
    const [left] = await server.query('SELECT count(*) AS n FROM lake.visits WHERE n = -1');
    return Number(left?.n) === 0;
  };
  return eventually('old rows are gone', isDone, patientMs);
}

async function mustBeLeft(
  run: StepRun,
  server: TestServer,
  before: readonly { n: number | null; table: string }[],
) {
  const isErased = ({ n, table }: { n: number | null; table: string }) => {
    return table === 'orders' ? [1, 3, 5, null].includes(n) : n === -1;
  };
  const left = before.filter((row) => !isErased(row));
  expect(await ask(server, rows)).toEqual(left);
  const journal = 'SELECT sum(hot + files)::INT AS rows, sum(quarantine)::INT AS parked';
  expect(await ask(server, `${journal} FROM millrace.erasures`)).toEqual([{ rows: 4, parked: 1 }]);
  await booksMustBe(run, server, {
    received: merged + 1 + mixed + 2,
    committed: left.length,
    deduplicated: 0,
    dropped: 5,
  });
  // What was discarded and is read by nobody goes a moment later.
  const lake = join(run.data, 'lake');
  await eventually('the lake holds what the catalog names', async () => {
    const named = await server.query<{ path: string }>('SELECT path FROM millrace.files');
    const found = (await readdir(lake, { recursive: true })).filter((name) =>
      /^lake.*\.parquet$/.test(name),
    );
    return (
      found.toSorted().join() ===
      named
        .map(({ path }) => path)
        .toSorted()
        .join()
    );
  });
  expect(inDurableOrder(await run.calls())).toBeGreaterThan(0);
}

/**
 * Every file that was renamed into the lake was synced before, and its folder behind it, before
 * the transaction that names files. @returns how many there were
 */
function inDurableOrder(calls: readonly string[]): number {
  const synced = new Set<string>();
  const folders = new Set<string>();
  let renamed = 0;
  for (const call of calls) {
    const [name, path = '', target = ''] = call.split(' ');
    if (name === 'syncFile') synced.add(path);
    if (name === 'syncDirectory') folders.delete(path);
    if (name === 'rename' && /^(?!.*\.orphans).*\.parquet$/.test(target)) {
      expect(synced, call).toContain(path);
      folders.add(dirname(target));
      renamed += 1;
    }
    // A store that was killed behind a rename leaves an orphan, which nobody names.
    if (call.startsWith('run ATTACH')) folders.clear();
    if (!call.startsWith('run INSERT INTO mr.files')) continue;
    expect([...folders], 'folders that are not synced').toEqual([]);
  }
  return renamed;
}
