import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Duck, type DuckWriter, type Plain } from './duckdb.ts';
import { FreshRows, selectFresh } from './fresh.ts';
import { type CellValue, type ColumnType, Rows } from './rows.ts';

let directory: string;
let duck: Duck;
let reader: DuckWriter;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-fresh-'));
  duck = await Duck.open(join(directory, 'x.duckdb'), join(directory, 'mm.duckdb'), 2_048, {});
  reader = await duck.connect();
});

afterEach(async () => {
  reader.close();
  duck.close();
  await rm(directory, { recursive: true });
});

type Row = Readonly<Record<string, CellValue>>;
const types: Readonly<Record<string, ColumnType>> = {
  time: 'BIGINT',
  _receipt: 'BIGINT',
  _rescued_data: 'VARCHAR',
  i: 'BIGINT',
  d: 'DOUBLE',
  b: 'BOOLEAN',
  s: 'VARCHAR',
  j: 'JSON',
};

/** Rows as the engine reads them from the file: table, time, rescued, receipt, cells. */
async function readBack(
  tables: readonly { readonly id: number; readonly names: string; readonly rows: readonly Row[] }[],
): Promise<readonly (readonly Plain[])[]> {
  const fresh = new FreshRows();
  for (const { id, names, rows: all } of tables) {
    const rows = new Rows();
    for (const row of all) {
      for (const [name, value] of Object.entries(row)) {
        if (value !== undefined) rows.column(name, types[name]!).add(rows.count, value);
      }
      rows.endRow();
    }
    const columns = new Map(
      names.split('').map((name) => [name, { name, type: types[name]!, exactAsDouble: true }]),
    );
    fresh.add(rows, {
      id,
      database: 'shop',
      table: `t${id}`,
      columns,
      sealed: undefined,
      files: [],
    });
  }
  const path = join(directory, 'rows');
  await writeFile(path, Buffer.concat(fresh.file));
  fresh.release();
  const names = 'id, time, rescued, receipt, cells';
  const found = await reader.all(`SELECT id, time, rescued, receipt::VARCHAR AS receipt,
    list_transform(cells, lambda cell: hex(encode(cell))) AS cells
    FROM (${selectFresh(path)}) AS rows (${names})`);
  return found.map((row) => Object.values(row));
}

const hex = (...texts: readonly (string | null)[]) =>
  texts.map((text) => text && Buffer.from(text).toString('hex').toUpperCase());

test('fresh rows have the texts of their values, of every type', async () => {
  const [least, most] = [-(2n ** 63n), 2n ** 63n - 1n];
  const rows = [
    { time: 1n, _receipt: most, i: most, d: -0, b: true, s: 'é😀\0"\\', j: '{"x": 1.10}' },
    { time: 2n, _receipt: 5n, i: least, d: 5e-324, b: false, s: ' ', j: '[]' },
    { time: 3n, _receipt: 6n, _rescued_data: '{"ü":1}' },
    { time: -4n, _receipt: 7n, i: 2n ** 53n + 1n, d: 1e21, j: '" "' },
    { time: 5n, _receipt: 8n, i: -1n, d: 42, b: false, s: 'l'.repeat(3_000) },
  ];
  expect(await readBack([{ id: 7, names: 'idbsj', rows }])).toEqual([
    [7, 1, null, String(most), hex(String(most), '-0', 'true', 'é😀\0"\\', '{"x": 1.10}')],
    [7, 2, null, '5', hex(String(least), '5e-324', 'false', ' ', '[]')],
    [7, 3, '{"ü":1}', '6', hex(null, null, null, null, null)],
    [7, -4, null, '7', hex('9007199254740993', '1e+21', null, null, '" "')],
    [7, 5, null, '8', hex('-1', '42', 'false', 'l'.repeat(3_000), null)],
  ]);
});

test('the text of an integer is exact, of any length and sign', async () => {
  const powers = Array.from({ length: 64 }, (_, power) => [
    2n ** BigInt(power),
    10n ** BigInt(power),
  ]);
  const near = powers.flat().flatMap((power) => [power - 1n, power, power + 1n]);
  const all = near
    .flatMap((value) => [value, -value])
    .filter((value) => {
      return BigInt.asIntN(64, value) === value;
    });
  const rows = all.map((i, n) => ({ time: BigInt(n), _receipt: BigInt(n), i }));
  const found = await readBack([{ id: 1, names: 'i', rows }]);
  expect(found.map(([, , , , cells]) => cells)).toEqual(all.map((value) => hex(String(value))));
});

test('an empty text is one, and a table without columns has empty lists', async () => {
  const at = { time: 1n, _receipt: 1n };
  const found = await readBack([
    { id: 1, names: '', rows: [at, at] },
    { id: 2, names: 's', rows: [{ ...at, s: '' }, at] },
    { id: 3, names: '', rows: [at] },
  ]);
  expect(found.map(([id, , , , cells]) => [id, cells])).toEqual([
    [1, []],
    [1, []],
    [2, ['']],
    [2, [null]],
    [3, []],
  ]);
});

test('many tables, more rows than the engine handles at once', async () => {
  const tables = Array.from({ length: 300 }, (_, id) => ({
    id,
    names: 'si',
    rows: Array.from({ length: id % 20 }, (_row, n) => ({
      time: BigInt(n),
      _receipt: BigInt(id),
      ...(n % 3 === 0 ? {} : { s: `${id}-${n}` }),
      i: BigInt(n),
    })),
  }));
  const found = await readBack(tables);
  expect(found).toEqual(
    tables.flatMap(({ id, rows }) =>
      rows.map(({ s, time }) => {
        return [id, Number(time), null, String(id), hex(s ?? null, String(time))];
      }),
    ),
  );
});
