import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Status } from '../src/admin/index.ts';
import { limits, randomIds } from '../src/base/index.ts';
import { createKey } from '../src/keys/index.ts';
import { eventually } from './support/eventually.ts';
import { Random } from './support/random.ts';
import { postForStatus } from './support/senders.ts';
import { temporaryDirectory, TestServer } from './support/server.ts';

/*
 * Strangers make up keys and tables as they like: what the server keeps, counts and says must not
 * grow with what they make up. One flood, then a look at everything.
 */

const strangers = 20_000;
const connections = 64;
const quarantineBytes = 2_000_000;
/** More than any of the events counts for in quarantine. */
const eventBytesMax = 5_000;
const reasons = ['unknown_key', 'key_not_allowed'] as const;

type Sent = {
  readonly path: string;
  readonly key: string;
  readonly padBytes: number;
  /** Why it is no row. */
  readonly reason?: (typeof reasons)[number];
  /** Where the ledger must have it: table and key. */
  readonly account: string;
  /** By a clock that counts what is sent and what is answered. */
  sentAt?: number;
  answeredAt?: number;
};

type Count = 'minutes' | 'received' | 'committed' | 'quarantined' | 'expired' | 'remainder';
type Line = { readonly account: string } & Readonly<Record<Count, number>>;

const events: Sent[] = [];
const agent = new Agent({ keepAlive: true, maxSockets: connections });
const random = new Random(strangers);
const startedAtMs = performance.now();
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
/** Answers that were not 200. */
const refusals: number[] = [];
let ticks = 0;
let seriesBefore: readonly string[];

beforeAll(async () => {
  directory = await temporaryDirectory();
  const make = (database: string) => createKey(directory.path, { database }, randomIds, Date.now());
  const [owner, other] = [await make('shop'), await make('elsewhere')];
  server = await TestServer.start(directory.path, ['--quarantine-bytes', `${quarantineBytes}`]);
  const pathOf = () => `${madeUp()}/${madeUp()}`;
  const stranger = (index: number): Sent => {
    const padBytes = index % 10 === 0 ? 4_000 : random.integer(0, 200);
    return { path: pathOf(), key: madeUp(), padBytes, reason: 'unknown_key', account: '*.* *' };
  };
  const orders = { path: 'shop/orders', padBytes: 20 };
  const row = { ...orders, key: owner.key, account: `shop.orders ${owner.entry.id}` };
  const closed = { key: other.key, padBytes: 2_000, reason: 'key_not_allowed' } as const;
  const flood = (count: number) =>
    Array.from({ length: count }, (_, index): readonly Sent[] => {
      if (index % 20 > 0) return [stranger(index)];
      return [
        stranger(index),
        { ...orders, key: madeUp(), reason: 'unknown_key', account: 'shop.orders *' },
        { ...closed, path: pathOf(), account: `*.* ${other.entry.id}` },
        { ...closed, path: orders.path, account: `shop.orders ${other.entry.id}` },
        row,
      ];
    }).flat();
  await send([row]);
  await server.flush();
  await send(flood(100));
  await server.flush();
  seriesBefore = await series();
  await send(flood(strangers));
  await server.flush();
});

afterAll(async () => {
  agent.destroy();
  await server.kill();
  await directory.remove();
});

function madeUp(): string {
  return `made_up_${random.integer(0, 2 ** 31)}_${random.integer(0, 2 ** 31)}`;
}

async function send(some: readonly Sent[]): Promise<void> {
  const waiting = some.values();
  const work = async () => {
    for (const given of waiting) {
      const event = { ...given };
      const n = events.push(event) - 1;
      const body = JSON.stringify({ n, pad: '#'.repeat(event.padBytes) });
      const url = `${server.ingest}/postback/v3/event/${event.path}`;
      event.sentAt = ticks += 1;
      const status = await postForStatus(url, event.key, body, agent);
      event.answeredAt = ticks += 1;
      if (status !== 200) refusals.push(status);
    }
  };
  await Promise.all(Array.from({ length: connections }, work));
}

async function series(): Promise<readonly string[]> {
  return (await metrics()).map((line) => line.slice(0, line.lastIndexOf(' '))).toSorted();
}

async function metrics(): Promise<readonly string[]> {
  const response = await fetch(`${server.admin}/metrics`);
  return (await response.text()).split('\n').filter((line) => /^[^#]/.test(line));
}

/** Bytes in quarantine, by reason, as the server counts them. */
async function parkedBytes(): Promise<readonly number[]> {
  const sums = await server.query<{ reason: string; bytes: number }>(
    'SELECT reason, sum(bytes)::BIGINT AS bytes FROM millrace.quarantine GROUP BY reason',
  );
  return reasons.map((reason) => sums.find((sum) => sum.reason === reason)?.bytes ?? 0);
}

/** What the ledger has of a table and a key, all minutes together. */
function ledger(): Promise<readonly Line[]> {
  const counts = ['received', 'committed', 'quarantined', 'expired'];
  return server.query<Line>(`
    SELECT "database" || '.' || "table" || ' ' || key_id AS account, count(*) AS minutes,
      ${counts.map((name) => `sum(${name})::BIGINT AS ${name}`).join(', ')},
      sum(abs(remainder))::BIGINT AS remainder
    FROM millrace.ledger GROUP BY account ORDER BY account`);
}

test('every event is answered 200', () => {
  expect(refusals).toEqual([]);
  expect(events.length).toBeGreaterThan(strangers);
});

test('the metrics have no more series than after the first events', async () => {
  expect(await series()).toEqual(seriesBefore);
});

test('the quarantine keeps to its bytes, and the oldest events of each reason went', async () => {
  const isBelow = async () => (await parkedBytes()).every((bytes) => bytes <= quarantineBytes);
  await eventually('the quarantine is within its bound', isBelow);
  const leastBytes = quarantineBytes * limits.quarantineKeptShare - eventBytesMax;
  for (const bytes of await parkedBytes()) expect(bytes).toBeGreaterThan(leastBytes);
  const rows = await server.query<{ reason: string; n: number }>(
    `SELECT reason, (body->>'n')::INTEGER AS n FROM millrace.quarantine`,
  );
  const kept = new Set(rows.map(({ reason, n }) => `${reason} ${n}`));
  let count = 0;
  for (const reason of reasons) {
    const isKept = (event: Sent, n: number) =>
      event.reason === reason && kept.has(`${reason} ${n}`);
    const here = events.filter(isKept);
    const gone = events.filter((event, n) => event.reason === reason && !isKept(event, n));
    count += here.length;
    // What is sent after another was answered is newer, whatever the connections did.
    const newestGone = Math.max(...gone.map(({ sentAt = NaN }) => sentAt));
    const oldestKept = Math.min(...here.map(({ answeredAt = NaN }) => answeredAt));
    expect(newestGone).toBeLessThan(oldestKept);
  }
  expect(rows.length).toBe(count);
});

test('the ledger has a line for each table and key that somebody made', async () => {
  const lines = await ledger();
  const sent = Map.groupBy(events, ({ account }) => account);
  const minutesMax = (performance.now() - startedAtMs) / 60_000 + 2;
  expect(lines.filter(({ minutes }) => minutes > minutesMax)).toEqual([]);
  const expected = [...sent].map(([account, { length }]) => ({
    account,
    received: length,
    remainder: 0,
  }));
  expect(
    lines.map(({ account, received, remainder }) => ({ account, received, remainder })),
  ).toEqual(expected.toSorted((a, b) => (a.account < b.account ? -1 : 1)));
  expect(expected.length).toBe(5);
});

test('acknowledged is rows, quarantined and expired, to the unit', async () => {
  const [counted] = await server.query<{ rows: number; parked: number; tables: number }>(`
    SELECT (SELECT count(DISTINCT n) FROM shop.orders) AS rows,
      (SELECT count(*) FROM millrace.quarantine) AS parked,
      (SELECT count(*) FROM millrace.tables) AS tables`);
  const lines = await ledger();
  const total = (name: 'committed' | 'quarantined' | 'expired') =>
    lines.reduce((sum, line) => sum + line[name], 0);
  const rows = events.filter(({ reason }) => reason === undefined).length;
  expect(counted).toEqual({ rows, parked: total('quarantined'), tables: 1 });
  expect(total('committed')).toBe(rows);
  expect(rows + total('quarantined') + total('expired')).toBe(events.length);
});

test('the books are right', async () => {
  // What is checked now and then has been checked since.
  await sleep(limits.auditEveryMs + 2 * limits.housekeepingEveryMs);
  const response = await fetch(`${server.admin}/status`);
  const { ledger: remainder, authFailures } = (await response.json()) as Status;
  expect(remainder).toEqual({ events: 0, where: [] });
  expect(authFailures.length).toBeLessThan(connections);
  const remainders = (await metrics()).filter((line) => line.includes('conservation_remainder'));
  expect(remainders.map((line) => line.split(' ').at(-1))).toEqual(['0']);
});

test('the log has as many lines as its limits allow', () => {
  const ranMs = performance.now() - startedAtMs;
  const texts = server.stderr().trimEnd().split('\n');
  const said = texts.map((text) => (JSON.parse(text) as { msg: string }).msg);
  const count = (begin: string) => said.filter((text) => text.startsWith(begin)).length;
  const windows = Math.floor(ranMs / limits.alarmEveryMs) + 1;
  const alarms = count('authentication failure');
  expect(alarms).toBeGreaterThanOrEqual(limits.alarmLinesMax);
  // One more in each window, for the rest of the one before.
  expect(alarms).toBeLessThanOrEqual(windows * (limits.alarmLinesMax + 1));
  const expiries = count('quarantine: the oldest events went');
  expect(expiries).toBeLessThanOrEqual(ranMs / limits.housekeepingEveryMs + 1);
  expect(said.length - alarms - expiries).toBeLessThan(10);
  expect(server.stdout().split('\n').length).toBeLessThan(10);
});
