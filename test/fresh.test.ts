import { DuckDBInstance } from '@duckdb/node-api';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { limits } from '../src/base/index.ts';
import { choreOf } from '../src/store/chores.ts';
import type { StoredTable } from '../src/store/views.ts';
import { Line, receivedAtMs } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* Rows that came few at a time are in a table for all, until theirs is changed or archived. */

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

const rowsOf = (table: string) => line.rows(`SELECT * FROM shop.${table} ORDER BY _receipt`);

async function append(table: string, ...bodies: readonly object[]): Promise<void> {
  for (const body of bodies) await line.append(JSON.stringify(body), { table });
  await line.flush();
}

/** How many rows of each table are fresh, as the file says. */
async function freshRows(): Promise<Readonly<Record<string, number>>> {
  await line.loader.close();
  await line.store.close();
  const rows = await inFile('SELECT table_id, count(*)::INT FROM mr.fresh GROUP BY 1 ORDER BY 1');
  const tables = await inFile('SELECT id, name FROM mr.tables');
  await line.openAgain();
  const names = new Map(tables.map(([id, name]) => [id, name as string]));
  return Object.fromEntries(rows.map(([id, n]) => [names.get(id) ?? '?', n as number]));
}

async function inFile(sql: string): Promise<readonly (readonly unknown[])[]> {
  const duck = await DuckDBInstance.create(join(line.data, 'store/millrace-1.duckdb'));
  const connection = await duck.connect();
  const rows = (await connection.runAndReadAll(sql)).getRows();
  connection.closeSync();
  duck.closeSync();
  return rows;
}

test('few rows are fresh, many or long ones are their own', async () => {
  const { freshRowsOfTableMax: most, freshRowBytesMax } = limits;
  await append('few', { n: 1 }, { n: 2 });
  await append('many', ...Array.from({ length: most + 1 }, (_, n) => ({ n })));
  await append('long', { text: 'x'.repeat(2 * freshRowBytesMax) });
  expect(await freshRows()).toEqual({ few: 2 });
  expect(await rowsOf('few')).toHaveLength(2);
  expect(await rowsOf('many')).toHaveLength(most + 1);
  expect(await rowsOf('long')).toHaveLength(1);
  expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
});

test('what is fresh follows its columns, as they widen and grow', async () => {
  await append('orders', { n: 1, text: 'ü\u0000"' }, { flag: false, n: -0 });
  await append('orders', { n: 2.5, new: { deep: [1, 2.5] } }, { n: 1e300 });
  const values = 'SELECT n, text, flag, new FROM shop.orders ORDER BY _receipt';
  const expected = [
    [1, 'ü\u0000"', null, null],
    [0, null, false, null],
    [2.5, null, null, '{"deep":[1,2.5]}'],
    [1e300, null, null, null],
  ];
  expect(await line.rows(values)).toEqual(expected);
  expect(await freshRows()).toEqual({ orders: 4 });
  expect(await line.rows(values)).toEqual(expected);
});

test('it joins its table when that is archived, retyped or dropped', async () => {
  const tables = ['kept', 'archived', 'retyped', 'dropped'];
  for (const table of tables) await append(table, { n: 1 }, { n: 2 });
  await line.loader.archivist.archive({ database: 'shop', table: 'archived' });
  await line.loader.retype('shop', 'retyped', 'n', 'VARCHAR');
  await line.loader.dropTable('shop', 'dropped', new Map([[0, line.log.mark]]));
  expect(await freshRows()).toEqual({ kept: 2 });
  for (const table of tables.slice(0, 3)) expect(await rowsOf(table)).toHaveLength(2);
  await append('retyped', { n: 3 });
  expect(await line.rows('SELECT n FROM shop.retyped ORDER BY _receipt')).toEqual([
    ['1'],
    ['2'],
    ['3'],
  ]);
  expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
});

test('a store of before gets its table, and views that know of it', async () => {
  await append('orders', { n: 1 });
  await line.loader.archivist.archive({ database: 'shop', table: 'orders' });
  await line.loader.close();
  await line.store.close();
  await inFile(`CREATE OR REPLACE VIEW shop.orders AS
    SELECT time, n, _rescued_data, _receipt FROM mr.hot_1`);
  await inFile('DROP TABLE mr.fresh');
  await line.openAgain();
  await append('orders', { n: 2 });
  expect(await line.rows('SELECT n FROM shop.orders ORDER BY n')).toEqual([[1], [2]]);
});

test('when there are too many, the table with most of them is archived', () => {
  const table = (id: number) => ({ id, database: 'shop', table: `t${id}`, files: [] });
  const tables = [1, 2, 3].map(table) as unknown as readonly StoredTable[];
  const half = limits.freshRowsMax / 2;
  const chore = (...fresh: readonly number[]) => {
    const hot = new Map(
      fresh.map((rows, index) => {
        return [index + 1, { rows, fresh: rows, bytes: 0, sinceMs: receivedAtMs }];
      }),
    );
    const nothing = { retentions: [], expiredAtMs: new Map<number, number>() };
    return choreOf({ ...nothing, tables, hot, nowMs: receivedAtMs, archiveAgeMs: 1_000 });
  };
  expect(chore(1, half - 1, 2)).toBeUndefined();
  expect(chore(1, half, half - 1)).toMatchObject({ kind: 'archive', table: 't2' });
});
