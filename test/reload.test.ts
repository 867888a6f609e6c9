import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { randomIds } from '../src/base/index.ts';
import { typeOfMost } from '../src/loader/reloading.ts';
import { type Member, parseReceipt, type Receipt } from '../src/event/index.ts';
import { importKey } from '../src/keys/index.ts';
import type { Store } from '../src/store/index.ts';
import { kept, Line, type RawParts, receivedAtMs, twin } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* A table that is derived anew from the exact bytes of its events. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let line: Line;
const open = async (raw: RawParts = { rawDays: 30 }) => {
  line = await Line.open(directory.path, undefined, kept, { segmentBytes: 400, ...raw });
};
beforeEach(async () => {
  directory = await temporaryDirectory();
  await open();
});
afterEach(async () => {
  await line.close();
  await directory.remove();
});

const orders = 'SELECT * EXCLUDE (time) FROM shop.orders ORDER BY _receipt';
const archive = () => line.loader.archivist.archive({ database: 'shop', table: 'orders' });
const reload = (sinceMs = 0, isDry = false) => {
  return line.loader.reload({ database: 'shop', table: 'orders', sinceMs, isDry });
};

async function append(bodies: readonly (string | object)[], atMs = receivedAtMs): Promise<void> {
  for (const body of bodies) {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    await line.submit([{ bodies: [text] }], { receivedAtMs: atMs });
  }
  await line.flush();
}

/** Everything that is sealed is raw. */
async function settle(): Promise<void> {
  const segments = async () => {
    const names = await readdir(join(directory.path, 'log', '0'));
    return names.filter((name) => name.endsWith('.seg'));
  };
  await expect.poll(segments, { timeout: 20_000 }).toHaveLength(1);
}

const columns = async () => {
  const sql = 'SELECT "column", type, rescued FROM millrace.columns';
  return (await line.rows(sql)).map((row) => (row as readonly (string | number)[]).join(' '));
};

async function mustBeRight(): Promise<void> {
  expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
  const named = await line.rows('SELECT path FROM millrace.files ORDER BY path');
  const names = await readdir(line.store.lake.directory, { recursive: true });
  expect(names.filter((name) => name.endsWith('.parquet')).sort()).toEqual(named.flat());
}

describe('reload', () => {
  const prices = ['"12"', '7.5', '8', '"n/a"', '9.25'];

  test('the type of most values wins, and rescued values come back', async () => {
    await append(prices.map((price, n) => `{"price":${price},"n":${n}}`));
    await append(['{"n":"x","price":1}', '{"n":true}']);
    expect(await columns()).toEqual(['price VARCHAR 0', 'n BIGINT 2']);
    await archive();
    await settle();
    const dry = await reload(0, true);
    const expected = {
      derived: 7,
      kept: 0,
      columns: [{ column: 'price', before: 'VARCHAR', after: 'DOUBLE' }],
    };
    expect(dry).toEqual(expected);
    expect(await columns()).toEqual(['price VARCHAR 0', 'n BIGINT 2']);
    const receipts = await line.rows('SELECT _receipt FROM shop.orders ORDER BY _receipt');
    expect(await reload()).toEqual(expected);
    const rows = await line.rows(orders);
    expect(rows.map((row) => row.slice(0, -1))).toEqual([
      [12, 0, null],
      [7.5, 1, null],
      [8, 2, null],
      [null, 3, '{"price":"n/a"}'],
      [9.25, 4, null],
      [1, null, '{"n":"x"}'],
      [null, null, '{"n":true}'],
    ]);
    expect(rows.map((row) => row.at(-1))).toEqual(receipts.flat());
    expect(await columns()).toEqual(['price DOUBLE 1', 'n BIGINT 2']);
    await mustBeRight();
    await line.reopen();
    expect(await line.rows(orders)).toEqual(rows);
    expect(await columns()).toEqual(['price DOUBLE 1', 'n BIGINT 2']);
    await append(['{"price":10.5,"n":7}']);
    expect(await line.rows('SELECT sum(price) FROM shop.orders')).toEqual([[48.25]]);
    expect(await reload(0, true)).toMatchObject({ derived: 8, columns: [] });
    await mustBeRight();
  });

  test('rows in files, sealed and hot are one table; it grows and widens', async () => {
    await append(['{"a":"1","gone":null}', '{"a":2}']);
    await archive();
    await append(['{"a":3,"b":1}']);
    await archive();
    await settle();
    await append(['{"a":4,"b":2.5,"c":{"x":[1]}}', '{"a":9007199254740993}']);
    const report = await reload();
    expect(report).toMatchObject({ derived: 5, kept: 0 });
    expect(report.columns).toEqual([{ column: 'a', before: 'VARCHAR', after: 'BIGINT' }]);
    const rows = await line.rows('SELECT a, b, c FROM shop.orders ORDER BY _receipt');
    expect(rows).toEqual([
      [1, null, null],
      [2, null, null],
      [3, 1, null],
      [4, 2.5, '{"x":[1]}'],
      ['9007199254740993', null, null],
    ]);
    await mustBeRight();
  });

  test('rows before the time stay, and so do the columns that they have values in', async () => {
    await append(['{"old":1,"a":"x","b":5}', '{"a":"y","old":"z"}']);
    const later = receivedAtMs + 1000;
    await append(['{"b":"1","a":1,"new":1}', '{"b":"2","a":2}', '{"b":"w"}'], later);
    await archive();
    await append(['{"b":"3"}'], later);
    await settle();
    expect(await columns()).toEqual(['old BIGINT 1', 'a VARCHAR 0', 'b BIGINT 1', 'new BIGINT 0']);
    const report = await reload(later);
    expect(report).toEqual({ derived: 4, kept: 2, columns: [] });
    const rows = await line.rows(
      'SELECT old, a, b, new, _rescued_data FROM shop.orders ORDER BY _receipt',
    );
    expect(rows).toEqual([
      [1, 'x', 5, null, null],
      [null, 'y', null, null, '{"old":"z"}'],
      [null, '1', 1, 1, null],
      [null, '2', 2, null, null],
      [null, null, null, null, '{"b":"w"}'],
      [null, null, 3, null, null],
    ]);
    expect(await columns()).toEqual(['old BIGINT 1', 'a VARCHAR 0', 'b BIGINT 1', 'new BIGINT 0']);
    await mustBeRight();
  });

  test('a column that only rows had which are derived gets its type and place anew', async () => {
    await append(['{"a":1}']);
    const later = receivedAtMs + 1000;
    await append(['{"b":"1","a":1}', '{"b":2}', '{"c":true,"b":3}'], later);
    await archive();
    const report = await reload(later);
    expect(report.columns).toEqual([{ column: 'b', before: 'VARCHAR', after: 'BIGINT' }]);
    expect(report).toMatchObject({ derived: 3, kept: 1 });
    const rows = await line.rows('SELECT a, b, c FROM shop.orders ORDER BY _receipt');
    expect(rows).toEqual([
      [1, null, null],
      [1, 1, null],
      [null, 2, null],
      [null, 3, true],
    ]);
    expect(await columns()).toEqual(['a BIGINT 0', 'b BIGINT 0', 'c BOOLEAN 0']);
    await mustBeRight();
  });

  test('a row whose bytes are lost or erased stays as it is', async () => {
    await append(Array.from({ length: 20 }, (_, n) => `{"v":${n < 6 ? `"${n}"` : n},"n":${n}}`));
    await archive();
    await settle();
    const receipts = (await line.rows('SELECT _receipt FROM shop.orders ORDER BY _receipt')).flat();
    const erased = parseReceipt(receipts[8] as string) as Receipt;
    expect(await line.loader.raw.erase([erased])).toBe(1);
    await line.loader.close();
    await line.store.close();
    const [, second = ''] = (await readdir(join(directory.path, 'raw', '0'))).sort();
    await rm(join(directory.path, 'raw', '0', second));
    await line.openAgain();
    const before = await line.rows(orders);
    const report = await reload();
    expect(report.kept).toBeGreaterThan(1);
    expect(report.derived).toBe(20 - report.kept);
    expect(await line.rows(orders)).toEqual(before);
    await mustBeRight();
  });

  test('what is no row does not become one; adopted events do', async () => {
    await append(['{"a":"1"}', '{"a":2}', '{"a":3}']);
    await line.append('{"a":4}', { key: '1/unknown' });
    await line.submit([{ bodies: ['{"a":5}'] }], { context: { idempotencyKey: 'k' } });
    await line.submit([{ bodies: ['{"a":5}'] }], { context: { idempotencyKey: 'k' } });
    await line.submit([
      { bodies: ['{"a":6}', '{"a":7}'] },
      { table: 'other', bodies: ['{"a":8}'] },
    ]);
    await line.flush();
    await archive();
    await line.loader.erasing.erase({ database: 'shop', table: 'orders' }, 'a = 3', false);
    expect(await reload()).toMatchObject({ derived: 5, kept: 0 });
    expect(await line.rows('SELECT a FROM shop.orders ORDER BY a')).toEqual(
      [1, 2, 5, 6, 7].map((a) => [a]),
    );
    expect(await line.rows('SELECT a FROM shop.other')).toEqual([[8]]);
    expect(await line.rows('SELECT body FROM millrace.quarantine')).toEqual([['{"a":4}']]);
    await mustBeRight();
  });

  test('events that are adopted meanwhile, far back, are derived in another round', async () => {
    await line.close();
    const stranger = `1/${'0123456789'.repeat(4)}`;
    let rounds = 0;
    const wrap = (store: Store) =>
      twin(store, {
        reload: async (...asked) => {
          const begun = await store.reload(...asked);
          const finish = begun.finish.bind(begun);
          begun.finish = async (...given) => {
            rounds += 1;
            if (rounds === 1) await adopted();
            return finish(...given);
          };
          return begun;
        },
      });
    line = await Line.open(directory.path, wrap, kept, { rawDays: 30, segmentBytes: 400 });
    const adopted = async () => {
      await importKey(line.data, stranger, { database: 'shop' }, randomIds, 0);
      const rows = () => line.rows('SELECT count(*) FROM shop.orders');
      await expect.poll(rows, { timeout: 20_000 }).toEqual([[13]]);
    };
    await line.append('{"v":"1","n":-1}', { key: stranger });
    await append(Array.from({ length: 12 }, (_, n) => ({ v: n < 2 ? `${n}` : n, n })));
    const report = await reload();
    expect(rounds).toBe(2);
    expect(report).toMatchObject({ derived: 12, kept: 0 });
    const rows = await line.rows('SELECT v, n FROM shop.orders ORDER BY n');
    expect(rows).toEqual([[1, -1], ...Array.from({ length: 12 }, (_, n) => [n, n])]);
    await mustBeRight();
  });

  test('events that come meanwhile are rows once, with the new types', async () => {
    await append(Array.from({ length: 300 }, (_, n) => `{"n":${n},"v":${n < 5 ? `"${n}"` : n}}`));
    await archive();
    const state = { isDone: false };
    const reloading = reload().finally(() => {
      state.isDone = true;
    });
    let n = 300;
    for (; !state.isDone || n < 320; n += 1) await line.append(`{"n":${n},"v":${n},"late":true}`);
    const report = await reloading;
    expect(report).toMatchObject({ derived: 300, kept: 0 });
    await line.flush();
    const sql =
      'SELECT count(*), count(DISTINCT n), min(n), max(n), count(v), sum(v - n) FROM shop.orders';
    expect(await line.rows(sql)).toEqual([[n, n, 0, n - 1, n, 0]]);
    const [[late] = []] = await line.rows('SELECT count(late) FROM shop.orders');
    expect(late).toBe(n - 300);
    expect((await columns()).map((text) => text.split(' ').slice(0, 2).join(' '))).toEqual([
      'n BIGINT',
      'v BIGINT',
      'late BOOLEAN',
    ]);
    await mustBeRight();
    await line.reopen();
    expect(await line.rows(sql)).toEqual([[n, n, 0, n - 1, n, 0]]);
  });

  test('without bytes it says so, and changes nothing', async () => {
    await append(['{"a":1}']);
    await expect(reload(receivedAtMs + 1)).rejects.toMatchObject({
      code: 'NO_RAW',
      message:
        'no bytes of rows of shop.orders are kept that were received from ' +
        '2023-11-14T22:13:20.001Z on: nothing is kept',
    });
    const nowhere = { database: 'shop', table: 'none', sinceMs: 0, isDry: false };
    await expect(line.loader.reload(nowhere)).rejects.toMatchObject({ code: 'NO_SUCH_TABLE' });
    await mustBeRight();
  });
});

describe('the type of most values', () => {
  test.each([
    ['a few integers among many texts', { integer: 2, string: 5 }, 'VARCHAR'],
    ['numbers count together', { string: 3, integer: 2, fraction: 2 }, 'BIGINT'],
    ['mostly fractions', { integer: 1, fraction: 2 }, 'DOUBLE'],
    ['as many of two: the earlier', { boolean: 2, integer: 2 }, 'BOOLEAN'],
    ['objects', { nested: 3, string: 1 }, 'JSON'],
    ['nothing', {}, undefined],
  ] as const)('%s', (_, kinds, type) => {
    const entries = Object.entries(kinds) as [Member['kind'], number][];
    expect(typeOfMost(new Map(entries))).toBe(type);
  });
});
