import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../src/base/index.ts';
import { Line } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* Events that are erased are nowhere any more, and nothing else is. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let line: Line;
beforeEach(async () => {
  directory = await temporaryDirectory();
  line = await Line.open(directory.path);
});
afterEach(async () => {
  await line.close();
  await directory.remove();
});

const orders = { database: 'shop', table: 'orders' };
const archive = () => line.loader.archivist.archive(orders);
const erase = (where: string, isDry = false) => line.loader.erasing.erase(orders, where, isDry);
const left = async (column = 'n') => {
  const rows = await line.rows(`SELECT ${column} FROM shop.orders ORDER BY ${column}`);
  return rows.flat();
};

async function append(bodies: readonly object[], key?: string): Promise<void> {
  for (const body of bodies) {
    await line.append(JSON.stringify(body), key === undefined ? {} : { key });
  }
  await line.flush();
}

async function mustBeRight(rows: number, dropped: number): Promise<void> {
  expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
  const sums = 'SELECT sum(committed), sum(dropped), sum(remainder) FROM millrace.ledger';
  expect(await line.rows(sums)).toEqual([[rows, dropped, 0]]);
}

const ann = 'ann@example.org';
const bob = 'bob@example.org';

test('rows go from files, hot rows and quarantine; a dry run only counts', async () => {
  await append([
    { n: 1, email: ann },
    { n: 2, email: bob },
  ]);
  await archive();
  await append([
    { n: 3, email: ann },
    { n: 4, email: null },
  ]);
  await append([{ n: 5, email: ann }, { n: 6 }, { n: 7, email: bob }], '1/unknown');
  const report = { hot: 1, files: 1, quarantine: 1, log: 3 };
  expect(await erase(`email = '${ann}'`, true)).toEqual(report);
  expect(await left()).toEqual([1, 2, 3, 4]);
  expect(await erase(`email = '${ann}'`)).toEqual(report);
  expect(await left()).toEqual([2, 4]);
  const parked = await line.rows('SELECT body FROM millrace.quarantine ORDER BY body');
  expect(parked).toEqual([['{"n":6}'], [`{"n":7,"email":"${bob}"}`]]);
  await mustBeRight(2, 3);
  const journal = 'SELECT hot, files, quarantine, finished_at IS NULL FROM millrace.erasures';
  expect(await line.rows(journal)).toEqual([[1, 1, 1, true]]);
  await line.reopen();
  expect(await left()).toEqual([2, 4]);
  await mustBeRight(2, 3);
});

test('what a column could not hold is found where it was rescued', async () => {
  await append([
    { n: 1, user: 42 },
    { n: 2, user: 'ann' },
    { n: 3, User: 'x', user: 7 },
    { n: 4, user: { name: 'ann' } },
  ]);
  // Beyond 64 bits.
  await line.append('{"n":5,"user":18446744073709551616}');
  await line.flush();
  await archive();
  await append([{ n: 6, user: 'ann' }, { n: 7 }]);
  expect(await erase("user = 'ann'")).toMatchObject({ hot: 1, files: 1 });
  expect(await left()).toEqual([1, 3, 4, 5, 7]);
  expect(await erase('user = 18446744073709551616')).toMatchObject({ files: 1 });
  expect(await erase('user IN (42)')).toMatchObject({ files: 1 });
  expect(await erase("user = 'x'")).toMatchObject({ files: 1 });
  expect(await left()).toEqual([4, 7]);
  await mustBeRight(2, 5);
});

test('a column that the table has not is looked for in what was rescued and parked', async () => {
  const wide = Object.fromEntries(
    Array.from({ length: limits.columnsMax }, (_, at) => [`c${at}`, 1]),
  );
  await append([
    { n: 1, ...wide },
    { n: 2, email: ann },
    { n: 3, email: bob },
  ]);
  expect(await erase(`lower(email) = '${ann}'`)).toMatchObject({ hot: 1, quarantine: 0 });
  expect(await left()).toEqual([1, 3]);
});

test('a condition may use what WHERE may: time, receipts, functions of a type', async () => {
  await append([
    { n: -1, price: 10 },
    { n: 2, price: 'free' },
    { n: 3, price: 20 },
  ]);
  const [[receipt] = []] = await line.rows('SELECT _receipt FROM shop.orders WHERE n = 3');
  expect(await erase('abs(price) > 100', true)).toMatchObject({ hot: 0 });
  expect(await erase("price = 'free'", true)).toMatchObject({ hot: 1 });
  expect(await erase(`_receipt = '${receipt as string}'`)).toMatchObject({ hot: 1 });
  expect(await erase('time > 1000 AND abs(n) = 1')).toMatchObject({ hot: 1 });
  expect(await left()).toEqual([2]);
});

test.each([
  ['', 'syntax error'],
  ['true', 'names no column'],
  ["email = 'x'; DROP TABLE shop.orders", ''],
  ['n) FROM shop.orders WHERE (n', 'not one expression'],
  ['n, email', ''],
  ['n IN (SELECT n FROM shop.orders)', 'subquery'],
  ['n = $1', 'parameter'],
  ["read_text('/etc/passwd') = n", ''],
  ["email = getenv('HOME')", ''],
  ['n ->', ''],
  ['abs(email) = 1', ''],
  ['count(n) > 1', ''],
  ['row_number() OVER (ORDER BY n) = 1', 'window'],
])('refuses %s', async (where, why) => {
  await append([{ n: 1, email: ann }]);
  await expect(erase(where)).rejects.toMatchObject({ message: expect.stringContaining(why) });
  expect(await left()).toEqual([1]);
});

test('a name in quotes is no SQL', async () => {
  await append([{ n: 1 }]);
  const begun =
    'x"" FROM (SELECT 1 AS _receipt)); DELETE FROM mr.fresh; SELECT 1 FROM (SELECT 1 AS ""y';
  await expect(erase(`"${begun}" = 1`, true)).rejects.toMatchObject({ code: 'BAD_PREDICATE' });
  await expect(erase('"#" > 0', true)).rejects.toMatchObject({ code: 'BAD_PREDICATE' });
  expect(await left()).toEqual([1]);
});

test('a slip in a name is no erasure', async () => {
  await append([{ n: 1, email: ann }]);
  await expect(erase("emial = 'x'")).rejects.toMatchObject({ code: 'NO_SUCH_COLUMN' });
  const nowhere = line.loader.erasing.erase({ ...orders, table: 'nowhere' }, "n = 'x'", false);
  await expect(nowhere).rejects.toMatchObject({ code: 'NO_SUCH_TABLE' });
  expect(await line.rows('FROM millrace.erasures')).toEqual([]);
});

test('what is erased is in no file of the store any more', async () => {
  await append([{ n: 1, email: 'needle-in-a-haystack' }, { n: 2 }]);
  await erase("email LIKE 'needle%'");
  await line.close();
  const store = join(directory.path, 'store');
  const bytes = await readFile(join(store, 'millrace-1.duckdb'));
  expect(bytes.includes('needle-in-a-haystack')).toBe(false);
  line = await Line.open(directory.path);
  expect(await left()).toEqual([2]);
});

test('what is kept raw is overwritten once its segment has left the log', async () => {
  await line.close();
  await directory.remove();
  await mkdir(directory.path);
  line = await Line.open(directory.path, undefined, undefined, { rawDays: 30, segmentBytes: 400 });
  await append([{ n: 1, email: 'needle' }, { n: 2 }]);
  expect(await erase("email = 'needle'")).toMatchObject({ hot: 1, log: 1 });
  expect(await line.loader.erasing.goOn()).toBe(false);
  expect(line.store.eraser.open).toMatchObject([{ areRowsGone: true }]);
  const raw = async () => {
    const found: string[] = [];
    const kept = await line.loader.raw.records(0);
    for await (const { records } of kept.read(kept.firstOffset, line.log.durableOffset)) {
      for (const { record } of records) found.push(record.toString('latin1'));
    }
    await kept.close();
    return found;
  };
  expect((await raw()).filter((record) => record.includes('needle'))).toHaveLength(1);
  // The segment is full by then, and goes.
  await append(Array.from({ length: 8 }, (_, n) => ({ n: n + 3 })));
  const isFinished = async () => {
    await append([{ n: 100 }]);
    return line.loader.erasing.goOn();
  };
  await expect.poll(isFinished, { timeout: 20_000 }).toBe(true);
  expect(line.store.eraser.open).toEqual([]);
  const records = await raw();
  expect(records.filter((record) => record.includes('needle'))).toEqual([]);
  expect(records.filter((record) => record.includes('"n":2'))).toHaveLength(1);
  expect(await erase("email = 'needle'", true)).toMatchObject({ hot: 0, log: 0 });
});

describe('the journal', () => {
  test('an erasure that was cut off goes on at the next start', async () => {
    await append([{ n: 1 }, { n: 2 }]);
    await archive();
    await append([{ n: 1 }, { n: 3 }]);
    const { eraser } = line.store;
    await line.loader.exclusive(() => eraser.begin('shop', 'orders', 'n = 1', new Map()));
    await line.reopen();
    expect(line.store.eraser.open).toMatchObject([{ where: 'n = 1', areRowsGone: false }]);
    expect(await line.loader.erasing.goOn()).toBe(true);
    expect(await left()).toEqual([2, 3]);
    expect(line.store.eraser.open).toEqual([]);
    const journal = 'SELECT hot, files, finished_at IS NULL FROM millrace.erasures';
    expect(await line.rows(journal)).toEqual([[1, 1, false]]);
    expect(await line.loader.erasing.goOn()).toBe(false);
    await mustBeRight(2, 2);
  });
});
