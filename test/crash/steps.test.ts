import { expect, test } from 'vitest';
import { randomIds } from '../../src/base/index.ts';
import { importKey } from '../../src/keys/index.ts';
import { eventually } from '../support/eventually.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';
import { ask, booksMustBe, command, isWhole, killAtSteps } from '../support/steps.ts';
import type { StepRun } from '../support/steps.ts';

/*
 * The store is killed at each of its calls of the SQL engine in turn: whatever it was doing, what
 * is started anew must end where a store that lived would. Here some of the steps are met, with
 * `npm run test:steps` all of them.
 */

const timeoutMs = isWhole ? 3_600_000 : 300_000;
const stepsMin = 25;
const killsMin = 2;
/** No key at first; then it is imported. */
const key = `1/${'0123456789'.repeat(4)}`;
const sent = 10;
const rows = 6;
const nothing = { events: 0, rows: 0, repeats: 0, stay: {} };
const everything = { events: sent, rows, repeats: sent - rows, stay: {} };

test.concurrent(
  'parked events are adopted once, whichever step the store is killed at',
  async () => {
    const scenario = async (run: StepRun) => {
      const server = await run.start();
      await run.arm();
      const parked = await park(server);
      await adopt(run.data);
      await loaded(server);
      const { answer: first } = await command(server, 'quarantine/replay', {});
      // Rows that were seen before their sync was noted go with the store, and are adopted anew.
      const isDead = (await run.killedAt()) !== undefined;
      expect(isDead ? [nothing, everything] : [nothing]).toContainEqual(first);
      const { answer: second } = await command(server, 'quarantine/replay', {});
      expect(second).toEqual(nothing);
      await run.disarm();
      await mustBeAdopted(run, server, parked);
    };
    const { kills, steps } = await killAtSteps({ name: 'adoption', scenario });
    expect(steps).toBeGreaterThanOrEqual(stepsMin);
    expect(kills).toBeGreaterThanOrEqual(killsMin);
  },
  timeoutMs,
);

test.concurrent(
  'parked events are adopted once at a start, whichever step of it the store is killed at',
  async () => {
    await using template = await temporaryDirectory();
    const parked = await parkedIn(template.path);
    const scenario = async (run: StepRun) => {
      await run.arm();
      const server = await run.start();
      // While the server adopts them by itself.
      expect(await command(server, 'quarantine/replay', {})).toMatchObject({ status: 200 });
      await loaded(server);
      await run.disarm();
      await mustBeAdopted(run, server, parked);
    };
    const { kills, steps } = await killAtSteps({
      name: 'adoption at a start',
      template: template.path,
      scenario,
    });
    expect(steps).toBeGreaterThanOrEqual(stepsMin);
    expect(kills).toBeGreaterThanOrEqual(killsMin);
  },
  timeoutMs,
);

test.concurrent(
  'types are set, and events and tables dropped, whichever step the store is killed at',
  async () => {
    await using template = await temporaryDirectory();
    const writeKey = await toBeChanged(template.path);
    const scenario = async (run: StepRun) => {
      const server = await run.start();
      await run.arm();
      for (const change of changes) {
        const given = { database: 'steps', table: 'orders', ...change };
        expect(await command(server, 'columns/set-type', given)).toMatchObject({ status: 200 });
      }
      const drop = await command(server, 'quarantine/drop', {});
      expect(drop).toMatchObject({ status: 200 });
      const table = await command(server, 'tables/drop', { database: 'steps', table: 'visits' });
      // Done by the one whose answer was cut off.
      const isDone = table.wasCut && table.status === 404;
      expect(table.answer).toMatchObject(isDone ? { code: 'NO_SUCH_TABLE' } : { dropped });
      await run.disarm();
      await mustBeChanged(run, server, writeKey);
    };
    const { kills, steps } = await killAtSteps({
      name: 'changes',
      template: template.path,
      scenario,
    });
    expect(steps).toBeGreaterThanOrEqual(stepsMin);
    expect(kills).toBeGreaterThanOrEqual(killsMin);
  },
  timeoutMs,
);

type Parked = {
  readonly receipt: string;
  readonly table: string;
  readonly body: string;
  readonly received: number;
};

/** Sends events with a key that nobody has made, and waits until they are in quarantine. */
async function park(server: TestServer): Promise<readonly Parked[]> {
  const wrong = { 'X-TD-Write-Key': key };
  const hourAgo = Math.floor(Date.now() / 1000) - 3_600;
  const lines = [4, 5, 6].map((n) => JSON.stringify({ n })).join('\n');
  const many = { 'Content-Type': 'application/x-ndjson', 'Idempotency-Key': 'many' };
  await post(server, 'orders', { n: 1 }, wrong);
  await post(server, 'visits', { n: 2, td_record_time: hourAgo }, wrong);
  for (let time = 0; time < 2; time += 1) {
    await post(server, 'orders', { n: 3 }, { ...wrong, 'Idempotency-Key': 'one' });
    await post(server, 'orders', lines, { ...wrong, ...many });
  }
  return eventually('every event is in quarantine', async () => {
    const [failures] = await server.query('SELECT sum(events) AS n FROM millrace.auth_failures');
    const parked = await server.query<Parked>(`
      SELECT receipt, "table", body, epoch_ms(received_at) // 1000 AS received
      FROM millrace.quarantine ORDER BY receipt`);
    return Number(failures?.n) === sent && parked.length === sent && parked;
  });
}

function adopt(data: string) {
  return importKey(data, key, { database: 'steps' }, randomIds, Date.now());
}

/** Parked events as a kill leaves them, and a key that is known by now. */
async function parkedIn(data: string): Promise<readonly Parked[]> {
  await using server = await TestServer.start(data);
  const parked = await park(server);
  await server.kill();
  await adopt(data);
  return parked;
}

const stored = `
  SELECT 'orders' AS "table", n, time, _receipt, _rescued_data FROM steps.orders
  UNION ALL SELECT 'visits', n, time, _receipt, _rescued_data FROM steps.visits
  ORDER BY _receipt`;

function loaded(server: TestServer) {
  return eventually('parked events are rows', async () => {
    const found = await server.query(stored);
    return found.length > 0;
  });
}

/** Each event is a row once, by the receipt that it had in quarantine; repeats are counted. */
async function mustBeAdopted(run: StepRun, server: TestServer, parked: readonly Parked[]) {
  const events = new Map<number, object>();
  for (const { receipt, table, body, received } of parked) {
    const { n = 0, td_record_time: time = received } = JSON.parse(body) as Record<string, number>;
    if (!events.has(n)) events.set(n, { table, n, time, _receipt: receipt, _rescued_data: null });
  }
  expect(events.size).toBe(rows);
  expect(await ask(server, stored)).toEqual([...events.values()]);
  expect(await ask(server, 'SELECT "table", rows, duplicates FROM millrace.tables')).toEqual([
    { table: 'orders', rows: rows - 1, duplicates: sent - rows },
    { table: 'visits', rows: 1, duplicates: 0 },
  ]);
  const books = { received: sent, committed: rows, deduplicated: sent - rows, dropped: 0 };
  await booksMustBe(run, server, books);
}

const orders = [
  '{"n":1,"a":1,"b":"1"}',
  '{"n":2,"a":"x","b":"2"}',
  '{"n":3,"a":"07","b":"z"}',
  '{"n":4,"a":true,"b":"9223372036854775808"}',
  '{"n":5,"a":{"deep":[1, 2.50]},"b":"5"}',
  '{"n":6}',
];
const changes = [
  { column: 'a', type: 'VARCHAR' },
  { column: 'b', type: 'BIGINT' },
];
const changed = [
  { n: 1, a: '1', b: 1, _rescued_data: null },
  { n: 2, a: 'x', b: 2, _rescued_data: null },
  { n: 3, a: '07', b: null, _rescued_data: '{"b":"z"}' },
  { n: 4, a: 'true', b: null, _rescued_data: '{"b":"9223372036854775808"}' },
  { n: 5, a: null, b: 5, _rescued_data: '{"a":{"deep":[1, 2.50]}}' },
  { n: 6, a: null, b: null, _rescued_data: null },
];
const visits = 3;
const strangers = 4;
const dropped = 'steps.visits';

/** Rescued values, a table to drop and events in quarantine, as a kill leaves them. */
async function toBeChanged(data: string): Promise<string> {
  const writeKey = await createKey(data, 'steps');
  await using server = await TestServer.start(data);
  const headers = { 'X-TD-Write-Key': writeKey };
  for (const order of orders) await post(server, 'orders', order, headers);
  for (let n = 0; n < visits; n += 1) await post(server, 'visits', { n }, headers);
  for (let n = 0; n < strangers; n += 1) {
    await post(server, 'orders', { n }, { 'X-TD-Write-Key': key });
  }
  await server.flush();
  const rescued = await ask(server, 'SELECT "column", type, rescued FROM millrace.columns');
  expect(rescued).toContainEqual({ column: 'a', type: 'BIGINT', rescued: 4 });
  await server.kill();
  return writeKey;
}

/** Every value is in its column or rescued; what was dropped is gone and counted. */
async function mustBeChanged(run: StepRun, server: TestServer, writeKey: string) {
  await post(server, 'visits', { n: visits }, { 'X-TD-Write-Key': writeKey });
  await eventually('the store is there again', () => server.flush().then(() => true));
  const values = await ask(
    server,
    'SELECT * EXCLUDE (time, _receipt) FROM steps.orders ORDER BY n',
  );
  expect(values).toEqual(changed);
  expect(await ask(server, 'SELECT "column", type, rescued FROM millrace.columns')).toEqual([
    { column: 'n', type: 'BIGINT', rescued: 0 },
    { column: 'a', type: 'VARCHAR', rescued: 1 },
    { column: 'b', type: 'BIGINT', rescued: 2 },
    { column: 'n', type: 'BIGINT', rescued: 0 },
  ]);
  expect(await ask(server, 'SELECT n FROM steps.visits')).toEqual([{ n: visits }]);
  await booksMustBe(run, server, {
    received: orders.length + visits + strangers + 1,
    committed: orders.length + 1,
    deduplicated: 0,
    dropped: visits + strangers,
  });
}

async function post(
  server: TestServer,
  table: string,
  body: unknown,
  headers: Record<string, string>,
): Promise<void> {
  expect((await server.post(`steps/${table}`, body, headers)).status).toBe(200);
}
