import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fault, type Mark, randomIds } from '../src/base/index.ts';
import { fingerprintOf } from '../src/event/index.ts';
import { changeKey, createKey, importKey, revokeKey } from '../src/keys/index.ts';
import type { Store } from '../src/store/index.ts';
import { eventually } from './support/eventually.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { Line, openLoader, receivedAtMs, twin } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* What the ledger says of every event, whatever becomes of it; in one process. */

const outside = '1/of-another-house';
const fingerprintOfOutside = fingerprintOf(outside);
const ledger = `SELECT "database", "table", sum(received), sum(committed), sum(quarantined),
  sum(deduplicated), sum(expired), sum(dropped) FROM millrace.ledger GROUP BY ALL ORDER BY ALL`;

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let line: Line;
const open = async (wrap?: (store: Store) => Store) => {
  line = await Line.open(directory.path, wrap);
};
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(async () => {
  await line.close();
  await directory.remove();
});

async function importOutside(database = 'shop'): Promise<void> {
  await importKey(directory.path, outside, { database }, randomIds, receivedAtMs);
}

async function reasons(): Promise<readonly unknown[]> {
  const rows = await line.rows('SELECT reason FROM millrace.quarantine ORDER BY receipt');
  return rows.map(([reason]) => reason);
}

/** Waits until the loader has adopted what it may. */
function adopted(): Promise<boolean> {
  return eventually('nothing is in quarantine', async () => (await reasons()).length === 0);
}

describe('adoption', () => {
  test('an imported key gets its parked events as rows, with the old times, in order', async () => {
    await open();
    for (let id = 1; id <= 5; id += 1) {
      const sent = { receivedAtMs: receivedAtMs + id * 60_000 };
      const key = { fingerprint: fingerprintOfOutside };
      await line.submit([{ bodies: [`{"id":${id}}`] }], { ...sent, ...key });
    }
    await line.append('{"id":6}');
    await line.flush();
    const parked = await line.rows('SELECT receipt FROM millrace.quarantine ORDER BY receipt');
    expect(await reasons()).toEqual(Array(5).fill('unknown_key'));
    await importOutside();
    await adopted();
    const rows = await line.rows('SELECT id, time, _receipt FROM shop.orders ORDER BY _receipt');
    const seconds = receivedAtMs / 1000;
    expect(rows.map(([id, time]) => [id, time])).toEqual([
      ...[1, 2, 3, 4, 5].map((id) => [id, seconds + 60 * id]),
      [6, seconds],
    ]);
    expect(rows.slice(0, 5).map(([, , receipt]) => [receipt])).toEqual(parked);
    expect(await line.rows(ledger)).toEqual([['shop', 'orders', 6, 6, 0, 0, 0, 0]]);
  });

  test('so does a key whose scope is widened, and one that is brought back', async () => {
    await open();
    const { entry, key } = await createKey(line.data, { database: 'other' }, randomIds, 0);
    await line.append('{"a":1}', { key });
    await line.flush();
    expect(await reasons()).toEqual(['key_not_allowed']);
    await changeKey(line.data, entry.id, { database: '*' }, 0);
    await adopted();
    await revokeKey(line.data, entry.id, 0);
    await line.append('{"a":2}', { key });
    await line.flush();
    expect(await reasons()).toEqual(['key_revoked']);
    await importKey(line.data, key, { database: '*' }, randomIds, 0);
    await adopted();
    expect(await line.rows('SELECT a FROM shop.orders ORDER BY a')).toEqual([[1], [2]]);
    expect(await line.rows(ledger)).toEqual([['shop', 'orders', 2, 2, 0, 0, 0, 0]]);
  });

  test('a key that was imported while nothing ran adopts at the start', async () => {
    await open();
    await line.append('{"a":1}', { key: outside });
    await line.flush();
    await line.loader.close();
    await importOutside();
    await line.reopen();
    await adopted();
    expect(await line.rows('SELECT a FROM shop.orders')).toEqual([[1]]);
  });

  test('events that were judged just before the key was imported are adopted too', async () => {
    let holds = true;
    await open((store) => {
      const commit: Store['commit'] = async (batch) => {
        if (batch.quarantine.length > 0 && holds) await sleep(1_500);
        return store.commit(batch);
      };
      return twin(store, { commit });
    });
    await line.append('{"a":1}', { key: outside });
    line.loader.durable(0, line.log.mark);
    await sleep(300);
    await importOutside();
    await line.flush();
    holds = false;
    await eventually('a row', async () => (await line.store.tables()).length === 1);
    expect(await line.rows('SELECT a FROM shop.orders')).toEqual([[1]]);
  });

  test('a key with too narrow a scope leaves them, with the new reason and its id', async () => {
    await open();
    await line.append('{"a":1}', { key: outside });
    await line.flush();
    await importOutside('elsewhere');
    const { stay } = await line.loader.replay({}, false);
    expect(stay).toEqual({ key_not_allowed: 1 });
    const sql = 'SELECT reason, key_id FROM millrace.quarantine';
    expect(await line.rows(sql)).toEqual([['key_not_allowed', expect.stringMatching(/^k_/)]]);
    expect(await line.rows(ledger)).toEqual([['*', '*', 1, 0, 1, 0, 0, 0]]);
    expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
  });

  test('repeats among the parked events are one row', async () => {
    await open();
    const parts = { fingerprint: fingerprintOfOutside, context: { idempotencyKey: 'once' } };
    for (let count = 0; count < 3; count += 1) {
      await line.submit([{ bodies: ['{"a":1}', '{"a":2}'] }], parts);
    }
    await line.flush();
    await importOutside();
    await adopted();
    expect(await line.rows('SELECT a FROM shop.orders ORDER BY a')).toEqual([[1], [2]]);
    // One that comes only now is a repeat too, though it was received long after.
    await line.submit([{ bodies: ['{"a":1}', '{"a":2}'] }], parts);
    await line.flush();
    expect(await line.rows(ledger)).toEqual([['shop', 'orders', 8, 2, 0, 6, 0, 0]]);
  });
});

describe('what changes between the answer and the table', () => {
  test('a table that is dropped: events on their way are in quarantine, and replayed', async () => {
    await open();
    await line.append('{"id":1}');
    await line.flush();
    await line.append('{"id":2}');
    await line.append('{"id":3}');
    // Acknowledged; the loader has not heard of them.
    await line.loader.dropTable('shop', 'orders', new Map([[0, line.log.mark]]));
    await line.append('{"id":4}');
    await line.flush();
    expect(await reasons()).toEqual(['table_dropped', 'table_dropped']);
    expect(await line.rows('SELECT id FROM shop.orders')).toEqual([[4]]);
    await line.reopen();
    const report = { events: 2, rows: 2, repeats: 0, stay: {} };
    expect(await line.loader.replay({ reasons: ['id_reused'] }, false)).toMatchObject({
      events: 0,
    });
    expect(await line.loader.replay({}, true)).toEqual(report);
    expect(await reasons()).toHaveLength(2);
    expect(await line.loader.replay({}, false)).toEqual(report);
    expect(await line.loader.replay({}, false)).toEqual({ ...report, events: 0, rows: 0 });
    expect(await line.rows('SELECT id FROM shop.orders ORDER BY id')).toEqual([[2], [3], [4]]);
    // The row that was there when the table was dropped is dropped, and counted.
    expect(await line.rows(ledger)).toEqual([['shop', 'orders', 4, 3, 0, 0, 0, 1]]);
    expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
  });

  test('an id that a dropped table had is new to the next one', async () => {
    await open();
    const parts = { context: { idempotencyKey: 'once' } };
    await line.submit([{ bodies: ['{"id":1}'] }], parts);
    await line.flush();
    await line.loader.dropTable('shop', 'orders', new Map([[0, line.log.mark]]));
    for (let count = 0; count < 2; count += 1) await line.submit([{ bodies: ['{"id":1}'] }], parts);
    await line.flush();
    expect(await line.rows(ledger)).toEqual([['shop', 'orders', 3, 1, 0, 1, 0, 1]]);
  });

  test('a store that nobody can answer for ends the process, whoever asked it', async () => {
    await open();
    await line.append('{"id":1}', { key: outside });
    await line.flush();
    await line.loader.close();
    const doubt = () => Promise.reject(fault('STORE_INVALID', { seen: 'the test says so' }));
    const fatal: unknown[] = [];
    const store = twin(line.store, { retype: doubt });
    line.loader = await openLoader(line.data, store, [0], (error) => {
      fatal.push(error);
    });
    const failed = { code: 'STORE_INVALID' };
    const retyped = line.loader.retype('shop', 'orders', 'id', 'JSON');
    await expect(retyped).rejects.toMatchObject(failed);
    expect(fatal).toEqual([expect.objectContaining(failed)]);
  });

  test('a key that is revoked or narrowed: events are in quarantine, with the reason', async () => {
    await open();
    const narrowed = await createKey(line.data, { database: 'shop' }, randomIds, 0);
    await line.append('{"id":1}');
    await line.append('{"id":2}', { key: narrowed.key });
    const [first] = await line.keys();
    await revokeKey(line.data, first?.id ?? '', 0);
    await changeKey(line.data, narrowed.entry.id, { table: 'carts' }, 0);
    await line.flush();
    expect(await reasons()).toEqual(['key_revoked', 'key_not_allowed']);
  });
});

describe('the quarantine', () => {
  test('drops what an operator names, and the ledger has it', async () => {
    await open();
    for (const key of ['one', 'one', 'two']) await line.append('{}', { key });
    await line.flush();
    const [group] = await line.store.parked.groups({}, 1);
    const fingerprints = [group?.fingerprint.slice(0, 12) ?? ''];
    const count = group?.events ?? 0;
    expect(await line.store.parked.drop({ fingerprints })).toBe(count);
    expect(await line.rows(ledger)).toEqual([['*', '*', 3, 0, 3 - count, 0, 0, count]]);
    expect(await line.store.parked.drop({})).toBe(3 - count);
    expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
  });

  test('keeps its bounds by reason: the oldest events go, counted as expired', async () => {
    line = await Line.open(directory.path, undefined, {
      quarantineBytes: 10_000,
      quarantineDays: 36_500,
    });
    const filler = 'x'.repeat(800);
    for (let id = 0; id < 30; id += 1) {
      const parts = { fingerprint: fingerprintOf('two'), receivedAtMs: receivedAtMs + id };
      await line.submit([{ bodies: [`{"id":${id},"filler":"${filler}"}`] }], parts);
    }
    await line.flush();
    expect(await line.store.parked.expire(receivedAtMs)).toBeGreaterThan(20);
    const ids = await line.rows(`SELECT (body::JSON->>'id')::INTEGER AS id
      FROM millrace.quarantine ORDER BY received_at`);
    const left = ids.map(([id]) => id);
    expect(left).toEqual(Array.from({ length: left.length }, (_, at) => 30 - left.length + at));
    expect(left.length).toBeGreaterThan(5);
    expect(await line.rows(ledger)).toEqual([
      ['*', '*', 30, 0, left.length, 0, 30 - left.length, 0],
    ]);
    expect(await line.store.parked.expire(receivedAtMs)).toBe(0);
    const late = receivedAtMs + 36_501 * 86_400_000;
    expect(await line.store.parked.expire(late)).toBe(left.length);
    expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
  });
});

describe('the audit', () => {
  const remainder = () => line.loader.status().remainder;

  test('finds a row that is gone from its table', async () => {
    await open();
    await line.append('{"id":1}');
    await line.append('{"id":2}');
    await line.flush();
    await line.loader.close();
    await line.store.close();
    const duck = await DuckDBInstance.create(join(line.data, 'store/millrace-1.duckdb'));
    const connection = await duck.connect();
    await connection.run(`DELETE FROM mr.fresh WHERE cells[1] = '1'`);
    connection.closeSync();
    duck.closeSync();
    await line.openAgain();
    await eventually('an alarm', () => Promise.resolve(remainder().events > 0));
    const wrong = { events: 1, where: ['rows of shop.orders'] };
    expect(remainder()).toEqual(wrong);
    // It is said again and again, until it is mended.
    for (let count = 0; count < 3; count += 1) {
      expect(await line.store.books.audit()).toEqual(wrong);
    }
  });

  test('finds a batch that lost an event on its way to its table', async () => {
    await open((store) => {
      return twin(store, {
        commit: (batch) =>
          store.commit({
            ...batch,
            tables: batch.tables.map((table) => {
              return { ...table, rows: table.rows.slice(1, table.rows.count) };
            }),
          }),
      });
    });
    await line.append('{"id":1}');
    await line.append('{"id":2}');
    await line.flush();
    expect((await line.store.books.audit()).where).toEqual(['shop.orders']);
  });

  test('finds events that an edge has acknowledged and the loader has not read', async () => {
    await open();
    await line.flush();
    await line.append('{"id":1}');
    const mark: Mark = { ...line.log.mark, events: line.log.mark.events + 3 };
    await line.loader.flush(new Map([[0, mark]]));
    await eventually('an alarm', () => Promise.resolve(remainder().events > 0));
    expect(remainder()).toEqual({ events: 3, where: ['between the edges and the loader'] });
  });
});

test('who waits for what never comes is told so, and others go on', async () => {
  await open();
  expect(await line.loader.waitFor(0, 10 ** 14, 50)).toBe(false);
  await line.append('{"id":1}');
  line.loader.durable(0, line.log.mark);
  expect(await line.loader.waitFor(0, line.log.mark.offset, 20_000)).toBe(true);
});

test('the ledger shows what waits in the log, by table and key', async () => {
  let isStuck = true;
  const stuck = () => Promise.reject(fault('STORE_FAILED', { seen: 'the test says so' }));
  await open((store) => {
    return twin(store, { commit: (batch) => (isStuck ? stuck() : store.commit(batch)) });
  });
  await line.append('{"id":1}', { table: 'waiting' });
  await line.append('{"id":2}', { key: 'nobody’s' });
  line.loader.durable(0, line.log.mark);
  await line.loader.showWaiting();
  const sql = `SELECT "table", key_id, received, waiting, remainder FROM millrace.ledger`;
  expect(await line.rows(`${sql} ORDER BY ALL`)).toEqual([
    ['*', '*', 1, 1, 0],
    ['waiting', (await line.keys())[0]?.id, 1, 1, 0],
  ]);
  isStuck = false;
});

test('merging the ledger changes no sum', async () => {
  await open();
  const hour = 60 * 60_000;
  for (let id = 0; id < 50; id += 1) {
    await line.submit([{ bodies: [`{"id":${id}}`] }], { receivedAtMs: receivedAtMs + id * hour });
    if (id % 10 === 0) await line.flush();
  }
  await line.flush();
  const before = await line.rows(ledger);
  await line.store.books.compact(receivedAtMs + 60 * 24 * hour, 0);
  expect(await line.rows(ledger)).toEqual(before);
  expect(await line.rows('SELECT count(*) FROM millrace.ledger')).toEqual([[3]]);
  expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
});

test('clocks of senders that are off are counted by key', async () => {
  await open();
  const now = receivedAtMs / 1000;
  const times = [
    now,
    now - 2,
    now - 90,
    now + 7_200,
    now - 30 * 86_400,
    now + 4 * 86_400,
    '"x"',
    '1e400',
  ];
  for (const time of times) await line.append(`{"td_record_time":${time}}`);
  await line.append('{}');
  await line.flush();
  const [row] =
    await line.rows(`SELECT events, outside, unreadable, earlier, from_m5_s, from_m300_s,
    from_3600_s, from_259200_s FROM millrace.time_report`);
  expect(row).toEqual([8, 3, 1, 1, 2, 1, 1, 2]);
});

test('every event is in the books, whatever comes in whatever order', async () => {
  const key = fc.constantFrom('ours', 'outside', 'nobody’s');
  const event = fc.record({ key, table: fc.constantFrom('aaa', 'bbb'), id: fc.nat(3) });
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('send' as const), event }) },
    fc.record({ do: fc.constantFrom('flush', 'import', 'replay', 'reopen', 'drop') }),
  );
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      await using folder = await temporaryDirectory();
      line = await Line.open(folder.path);
      let sent = 0;
      for (const one of steps) {
        if ('event' in one) {
          const { key: name, table, id } = one.event;
          const fingerprint = fingerprintOf(name === 'ours' ? line.key : name);
          const context = { idempotencyKey: String(id) };
          const parts = { fingerprint: name === 'outside' ? fingerprintOfOutside : fingerprint };
          await line.submit([{ table, bodies: [`{"id":${id}}`] }], { ...parts, context });
          sent += 1;
        } else if (one.do === 'flush') await line.flush();
        else if (one.do === 'reopen') await line.reopen();
        else if (one.do === 'replay') await line.loader.replay({}, false);
        else if (one.do === 'drop') {
          const mark = new Map([[0, line.log.mark]]);
          await line.loader.dropTable('shop', 'aaa', mark).catch(() => undefined);
        } else
          await importKey(line.data, outside, { database: 'shop' }, randomIds, 0).catch(() => 0);
      }
      await line.flush();
      const [sums] = await line.rows('SELECT sum(received)::INTEGER FROM millrace.ledger');
      expect(Number(sums?.[0] ?? 0)).toBe(sent);
      expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
      expect(line.loader.status().remainder).toEqual({ events: 0, where: [] });
      runs += 1;
      await line.close();
    }),
    { numRuns: 15, timeout: 20_000 },
  );
  expect(runs).toBeGreaterThan(10);
  await open();
});
