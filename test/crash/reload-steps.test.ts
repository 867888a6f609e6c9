import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sleep } from '../../src/base/index.ts';
import { eventually } from '../support/eventually.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';
import { ask, booksMustBe, command, isWhole, killAtSteps, type StepRun } from '../support/steps.ts';

/*
 * The store is killed at each of its calls of the SQL engine and of the disk while it keeps a
 * segment raw and reloads a table: the same rows before or after, each once. See `steps.test.ts`.
 */

const timeoutMs = isWhole ? 3_600_000 : 300_000;
const args = ['--raw-days', '30'];
const [older, newer, last] = [3, 8, 2];
const receipts = 'SELECT _receipt FROM reload.orders ORDER BY _receipt';

test(
  'a table is reloaded, whichever step the store is killed at',
  async () => {
    await using template = await temporaryDirectory();
    const { key, since, before } = await prepare(template.path);
    const scenario = async (run: StepRun) => {
      await run.arm();
      const server = await run.start();
      for (let n = 0; n < last; n += 1)
        await post(server, key, { n: 100 + n, price: 0.5, late: 1 });
      const asked = { database: 'reload', table: 'orders', since };
      const { status, answer } = await command(server, 'tables/reload', asked);
      expect({ status, answer }).toMatchObject({ status: 200, answer: { kept: older } });
      await run.disarm();
      await mustBeReloaded(run, server, before);
    };
    const loop = { name: 'reload', template: template.path, args, stride: 23, scenario };
    const { kills, steps } = await killAtSteps(loop);
    expect(steps).toBeGreaterThanOrEqual(50);
    expect(kills).toBeGreaterThanOrEqual(3);
  },
  timeoutMs,
);

async function post(server: TestServer, key: string, body: object): Promise<void> {
  const sent = await server.post('reload/orders', body, { 'X-TD-Write-Key': key });
  expect(sent.status).toBe(200);
}

/** Rows in a file, older and newer ones together, and hot rows; a column with a wrong type. */
async function prepare(data: string) {
  const key = await createKey(data, 'reload');
  await using server = await TestServer.start(data, args);
  for (let n = 0; n < older; n += 1) await post(server, key, { n, note: 'x' });
  await sleep(5);
  const since = new Date().toISOString();
  await post(server, key, { n: older, price: '12', note: 1 });
  for (let n = 1; n < newer - 1; n += 1) await post(server, key, { n: older + n, price: n + 0.25 });
  await server.flush();
  const asked = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' };
  const archived = await fetch(`${server.admin}/tables/archive`, asked);
  expect(await archived.json()).toMatchObject({ rows: older + newer - 1 });
  await post(server, key, { n: older + newer - 1, price: 'n/a' });
  await server.flush();
  const before = await server.query<{ _receipt: string }>(receipts);
  await server.kill();
  return { key, since, before: before.map(({ _receipt }) => _receipt) };
}

async function mustBeReloaded(run: StepRun, server: TestServer, before: readonly string[]) {
  const after = await ask(server, receipts);
  expect(after.map(({ _receipt }) => _receipt)).toEqual([
    ...before,
    ...Array(last).fill(expect.anything()),
  ]);
  const values = await ask(
    server,
    'SELECT n, note, price, late, _rescued_data AS rescued FROM reload.orders ORDER BY n',
  );
  const empty = { note: null, price: null, late: null, rescued: null };
  expect(values).toEqual([
    ...Array.from({ length: older }, (_, n) => ({ ...empty, n, note: 'x' })),
    { ...empty, n: older, price: 12, note: '1' },
    ...Array.from({ length: newer - 2 }, (_, n) => ({
      ...empty,
      n: older + n + 1,
      price: n + 1.25,
    })),
    { ...empty, n: older + newer - 1, rescued: '{"price":"n/a"}' },
    ...Array.from({ length: last }, (_, n) => ({ ...empty, n: 100 + n, price: 0.5, late: 1 })),
  ]);
  const columns = 'SELECT "column", type, rescued FROM millrace.columns';
  expect(await ask(server, columns)).toEqual([
    { column: 'n', type: 'BIGINT', rescued: 0 },
    { column: 'note', type: 'VARCHAR', rescued: 0 },
    { column: 'price', type: 'DOUBLE', rescued: 1 },
    { column: 'late', type: 'BIGINT', rescued: 0 },
  ]);
  const committed = older + newer + last;
  await booksMustBe(run, server, { received: committed, committed, deduplicated: 0, dropped: 0 });
  const lake = join(run.data, 'lake');
  await eventually('the lake holds what the catalog names', async () => {
    const named = await server.query<{ path: string }>('SELECT path FROM millrace.files');
    const found = (await readdir(lake, { recursive: true })).filter((name) =>
      /^[^.].*\.parquet$/.test(name),
    );
    return (
      found.toSorted().join() ===
      named
        .map(({ path }) => path)
        .toSorted()
        .join()
    );
  });
  // The segments of the server before are raw and nowhere else.
  await eventually('what was loaded is raw', async () => {
    const log = (await readdir(join(run.data, 'log', '0'))).filter((name) => name.endsWith('.seg'));
    const raw = await readdir(join(run.data, 'raw', '0'));
    return log.length === 1 && raw.length > 0 && raw.every((name) => name.endsWith('.seg.zst'));
  });
}
