import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { membersOf } from '../src/event/index.ts';
import { Line } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let line: Line;
const open = async () => {
  line = await Line.open(directory.path);
};
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(async () => {
  await line.close();
  await directory.remove();
});

describe('a column that gets another type', () => {
  const texts = [
    '1 -1 0 42.0 1.5 -0.0 1e300 9007199254740993 9223372036854775807 18446744073709551616',
    '123456789012345678901234567890 true false "" "x" "42" "1.5" "true"',
    '"\\u0000" "\\ud800" {"a":[1.10]} [] [1,"x"]',
  ].flatMap((some) => some.split(' '));
  const types = ['BIGINT', 'DOUBLE', 'BOOLEAN', 'VARCHAR', 'JSON'] as const;

  /** What a value means, whatever its type: a number and a text of its digits are the same. */
  const meaning = (text: string): string => {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object') return text;
    const bare = typeof value === 'string' ? value : text;
    return /^-?\d+(\.\d+)?(e\+?\d+)?$/.test(bare) ? String(Number(bare)) : bare;
  };

  test('there and back, no value is lost', async () => {
    await open();
    for (const text of texts) await line.append(`{"v":${text},"other":1}`);
    await line.append('{"V":1,"v":"second"}');
    await line.flush();
    const order = [...types, ...types.toReversed(), 'DOUBLE', 'VARCHAR', 'JSON'] as const;
    for (const type of order) {
      const { left } = await line.loader.retype('shop', 'orders', 'v', type);
      const value = type === 'JSON' ? 'v::VARCHAR' : 'to_json(v)::VARCHAR';
      const rows = await line.rows(
        `SELECT ${value}, _rescued_data, other FROM shop.orders ORDER BY _receipt`,
      );
      const found = rows.map(([text, rescued]) => {
        const kept = rescued === null ? undefined : membersOf(rescued as string)[0]?.text;
        return meaning((text as string | null) ?? kept ?? '""');
      });
      expect(found.slice(0, -1), type).toEqual(texts.map(meaning));
      const counted = rows.filter(([, rescued]) => rescued !== null).length;
      expect(left, type).toBeGreaterThanOrEqual(counted);
      expect(rows.every(([, , other], at) => other === (at < texts.length ? 1 : null))).toBe(true);
      const [status] = await line.store.columns('shop', 'orders');
      expect(status).toMatchObject({ column: 'v', type, rescued: left });
    }
    await line.append('{"v":{"new":1}}');
    await line.flush();
    await line.reopen();
    expect(await line.rows('SELECT v FROM shop.orders ORDER BY _receipt DESC LIMIT 1')).toEqual([
      ['{"new":1}'],
    ]);
    expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
  });

  test('columns of any name lose nothing', async () => {
    await open();
    const names = ['rescued', 'value', 'receipt', 'kept', 'changed', 'rowid', 'n'];
    await line.append(JSON.stringify(Object.fromEntries(names.map((name) => [name, 1]))));
    await line.append('{"n":"abc"}');
    await line.append('{"rescued":"x","other":5}');
    await line.flush();
    const sql = 'SELECT n, rescued, other, _rescued_data FROM shop.orders ORDER BY _receipt';
    expect(await line.rows(sql)).toEqual([
      [1, 1, null, null],
      [null, null, null, '{"n":"abc"}'],
      [null, null, 5, '{"rescued":"x"}'],
    ]);
    for (const name of names) await line.loader.retype('shop', 'orders', name, 'VARCHAR');
    expect(await line.rows(sql)).toEqual([
      ['1', '1', null, null],
      ['abc', null, null, null],
      [null, 'x', 5, null],
    ]);
  });

  test('is no doubt about the store while a query still reads the old rows', async () => {
    await open();
    const filler = 'x'.repeat(30_000);
    const many = Array.from({ length: 100 }, (_, id) => `{"v":${id},"filler":"${filler}"}`);
    for (let count = 0; count < 8; count += 1) await line.submit([{ bodies: many }]);
    await line.flush();
    const reader = await line.store.reader();
    const { rows } = await reader.select('SELECT a.v FROM shop.orders a, shop.orders b');
    const [first] = [await rows[Symbol.asyncIterator]().next()];
    expect(first?.done).toBe(false);
    expect(await line.loader.retype('shop', 'orders', 'v', 'VARCHAR')).toMatchObject({ left: 0 });
    reader.interrupt();
    reader.close();
    expect(await line.rows('SELECT count(v), min(v) FROM shop.orders')).toEqual([[800, '0']]);
  });

  test('one that is not there is a fault', async () => {
    await open();
    await line.append('{"v":1}');
    await line.flush();
    const retype = (table: string, column: string) =>
      line.loader.retype('shop', table, column, 'JSON');
    await expect(retype('nothing', 'v')).rejects.toMatchObject({ code: 'NO_SUCH_TABLE' });
    for (const column of ['w', 'time', '_receipt', '_rescued_data', 'v" , 1 AS "v']) {
      await expect(retype('orders', column)).rejects.toMatchObject({ code: 'NO_SUCH_COLUMN' });
    }
  });
});
