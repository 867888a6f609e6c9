import { describe, expect, test } from 'vitest';
import { limits } from '../base/index.ts';
import { fingerprintOf, readRecord } from '../event/index.ts';
import type { CellValue, Column, ColumnType, TableBatch, TableSchema } from '../store/index.ts';
import { hasLoneSurrogate } from './fit.ts';
import { TablePlan } from './plan.ts';

const receivedAtMs = 1_700_000_000_000;

function schema(columns: Readonly<Record<string, ColumnType>> = {}): TableSchema {
  const entries = Object.entries(columns).map(([name, type]): [string, Column] => {
    return [name, { name, type, exactAsDouble: true }];
  });
  return { database: 'shop', table: 'orders', columns: new Map(entries) };
}

function add(plan: TablePlan, ...bodies: readonly string[]): void {
  bodies.forEach((body, index) => {
    const fingerprint = fingerprintOf('k');
    const event = { database: 'shop', table: 'orders', fingerprint, receivedAtMs, index: 0 };
    const form = { dialect: 'postback', context: {} } as const;
    const postback = { ...event, ...form, body: Buffer.from(body) };
    const source = { shard: 0, offset: index + 1, postback, keyId: 'k_1' };
    plan.add(source, readRecord(postback));
  });
}

/** The values of each row, by column. */
function rowsOf({ rows }: TableBatch): readonly Readonly<Record<string, CellValue>>[] {
  const names = [...rows.columns.keys()];
  return rows.cells().map((cells) => {
    const found = names.map((name, index) => [name, cells[index]] as const);
    return Object.fromEntries(found.filter(([, value]) => value !== undefined));
  });
}

/** What becomes of a value that comes to a column of a type: as JSON text, or `rescued`. */
function place(type: ColumnType, value: string): { readonly text: string; readonly type: string } {
  const plan = new TablePlan(schema({ a: type }));
  add(plan, `{"a":${value}}`);
  const [{ a, ...others } = {}] = rowsOf(plan.batch());
  const rescued = a === undefined ? { _rescued_data: `{"a":${value}}` } : {};
  expect(others).toEqual({ _receipt: 1n, time: 1_700_000_000n, ...rescued });
  return { text: textOf(a), type: plan.batch().columns.get('a')?.type ?? '' };
}

function textOf(value: CellValue): string {
  if (value === undefined) return 'rescued';
  return typeof value === 'string'
    ? JSON.stringify(value)
    : Object.is(value, -0)
      ? '-0.0'
      : String(value);
}

describe('a value in its column', () => {
  test.each<[ColumnType, string, string, ColumnType?]>([
    ['BIGINT', '42', '42'],
    ['BIGINT', '"42"', '42'],
    ['BIGINT', '-0', '0'],
    ['BIGINT', '1.0', '1'],
    ['BIGINT', '1e3', '1000'],
    ['BIGINT', '9223372036854775807', '9223372036854775807'],
    ['BIGINT', '-9223372036854775808', '-9223372036854775808'],
    ['BIGINT', '9223372036854775808', 'rescued'],
    ['BIGINT', '"9223372036854775808"', 'rescued'],
    ['BIGINT', '1.5', '1.5', 'DOUBLE'],
    ['BIGINT', '4.2e1', '42'],
    ['BIGINT', '4200e-2', '42'],
    ['BIGINT', '-0.0', '0'],
    ['BIGINT', '0e999999999', '0'],
    ['BIGINT', '9223372036854775807.0', '9223372036854775807'],
    ['BIGINT', '9007199254740991.4', '9007199254740991', 'DOUBLE'],
    ['BIGINT', '1.00000000000000000001', '1', 'DOUBLE'],
    ['BIGINT', '1e300', '1e+300', 'DOUBLE'],
    ['BIGINT', '1e-400', 'rescued'],
    ['BIGINT', '9'.repeat(1_000_000), 'rescued'],
    ['BIGINT', '1e400', 'rescued'],
    ['BIGINT', '"042"', 'rescued'],
    ['BIGINT', '"+42"', 'rescued'],
    ['BIGINT', '" 42"', 'rescued'],
    ['BIGINT', '"-0"', 'rescued'],
    ['BIGINT', '""', 'rescued'],
    ['BIGINT', 'true', 'rescued'],
    ['BIGINT', '[1]', 'rescued'],
    ['DOUBLE', '1.5', '1.5'],
    ['DOUBLE', '1', '1'],
    ['DOUBLE', '-0', '-0.0'],
    ['DOUBLE', '9'.repeat(309), 'rescued'],
    ['DOUBLE', `-${'9'.repeat(309)}`, 'rescued'],
    ['DOUBLE', '9'.repeat(1_000_000), 'rescued'],
    ['DOUBLE', '9007199254740992', '9007199254740992'],
    ['DOUBLE', '9007199254740993', 'rescued'],
    ['DOUBLE', '5e-324', '5e-324'],
    ['DOUBLE', '1e-400', 'rescued'],
    ['DOUBLE', '0e-400', '0'],
    ['DOUBLE', '1e400', 'rescued'],
    ['DOUBLE', '"1.5"', '1.5'],
    ['DOUBLE', '"1.50"', 'rescued'],
    ['DOUBLE', '"NaN"', 'rescued'],
    ['BOOLEAN', 'true', 'true'],
    ['BOOLEAN', '"false"', 'false'],
    ['BOOLEAN', '1', 'rescued'],
    ['BOOLEAN', '"True"', 'rescued'],
    ['VARCHAR', '"x"', '"x"'],
    ['VARCHAR', '12345678901234567890123', '"12345678901234567890123"'],
    ['VARCHAR', '1.10', '"1.10"'],
    ['VARCHAR', 'false', '"false"'],
    ['VARCHAR', '{"x":1}', 'rescued'],
    ['VARCHAR', '"\\ud800"', 'rescued'],
    ['VARCHAR', '"\\ud83d\\ude00"', '"😀"'],
    ['JSON', '{"x": 1.10}', '"{\\"x\\": 1.10}"'],
    ['JSON', '"x"', '"\\"x\\""'],
    ['JSON', '5', '"5"'],
    ['JSON', '["\\udc00"]', 'rescued'],
  ])('%s takes %s as %s', (type, value, text, after = type) => {
    expect(place(type, value)).toEqual({ text, type: after });
  });

  test('BIGINT does not widen once it holds what a DOUBLE cannot', () => {
    const plan = new TablePlan(schema({ a: 'BIGINT' }));
    add(plan, '{"a":9007199254740993}', '{"a":1.5}');
    const batch = plan.batch();
    expect(batch.columns.get('a')).toEqual({ name: 'a', type: 'BIGINT', exactAsDouble: false });
    expect(rowsOf(batch)[1]?._rescued_data).toBe('{"a":1.5}');
  });

  test('BIGINT that widened in a batch keeps what came before it', () => {
    const plan = new TablePlan(schema());
    add(plan, '{"a":1}', '{"a":1.5}', '{"a":2}');
    const batch = plan.batch();
    expect(batch.columns.get('a')?.type).toBe('DOUBLE');
    expect(rowsOf(batch).map(({ a }) => a)).toEqual([1, 1.5, 2]);
  });
});

describe('columns of a table', () => {
  test('appear in the order of their first value, with its type', () => {
    const plan = new TablePlan(schema());
    add(plan, '{"s":"2020-01-01","n":null}', '{"i":1,"f":0.5,"b":true,"o":{},"n":[]}');
    const found = [...plan.batch().columns.values()].map(({ name, type }) => `${name} ${type}`);
    expect(found).toEqual(['s VARCHAR', 'i BIGINT', 'f DOUBLE', 'b BOOLEAN', 'o JSON', 'n JSON']);
  });

  test('a second key of an event with the same name is rescued, exact', () => {
    const plan = new TablePlan(schema());
    add(plan, '{"Foo":1,"foo":2,"FOO":3}', '{"foo":4}');
    const batch = plan.batch();
    const time = 1_700_000_000n;
    expect(rowsOf(batch)).toEqual([
      { _receipt: 1n, time, foo: 1n, _rescued_data: '{"foo":2,"FOO":3}' },
      { _receipt: 2n, time, foo: 4n },
    ]);
    expect(batch.rescued).toEqual(new Map([['foo', 2]]));
  });

  test.each(['time', '_receipt', '_rescued_data', 'Time'])('%s is ours: rescued', (key) => {
    const plan = new TablePlan(schema());
    add(plan, `{"${key}":5}`);
    expect(plan.batch().columns.size).toBe(0);
    expect(rowsOf(plan.batch())[0]?._rescued_data).toBe(`{"${key}":5}`);
  });

  test('beyond the limit, and with too long a name, values are rescued', () => {
    const plan = new TablePlan(schema());
    const keys = Array.from(
      { length: limits.columnsMax + 1 },
      (_, index) => `"k${index}":${index}`,
    );
    add(plan, `{"${'x'.repeat(300)}":1,${keys.join(',')}}`);
    const batch = plan.batch();
    expect(batch.columns.size).toBe(limits.columnsMax);
    const rescued = `{"${'x'.repeat(300)}":1,"k512":512}`;
    expect(rowsOf(batch)[0]?._rescued_data).toBe(rescued);
  });
});

describe('hasLoneSurrogate', () => {
  test.each([
    ['"\\ud800"', true],
    ['"\\udc00"', true],
    ['"\\ud800\\ud800\\udc00"', true],
    ['"\\ud800x\\udc00"', true],
    ['"\\ud800\\n"', true],
    ['"\\ud800abc\\n"', true],
    ['"\\ud800 \\ud83d\\ude00"', true],
    ['"\\ud83d\\ude00abc\\n"', false],
    ['"\\ud83d\\ude00"', false],
    ['"\\uD83D\\uDE00\\uD83D\\uDE00"', false],
    ['"\\\\ud800"', false],
    ['"\\\\\\ud800"', true],
    ['"\\u0000 \\u00e9"', false],
    ['"plain 😀"', false],
  ])('%s: %s', (text, expected) => {
    expect(hasLoneSurrogate(text)).toBe(expected);
    expect(!(JSON.parse(text) as string).isWellFormed()).toBe(expected);
  });
});

describe('an event that is unlike the others', () => {
  const keys = (count: number) =>
    `{${Array.from({ length: count }, (_, index) => `"k${index}":${index}`).join(',')}}`;

  test('makes no columns in a table with rows, if it brings more than it may', () => {
    const plan = new TablePlan(schema({ a: 'BIGINT' }));
    add(plan, keys(limits.newColumnsMax + 1), keys(limits.newColumnsMax));
    const batch = plan.batch();
    expect(batch.columns.size).toBe(1 + limits.newColumnsMax);
    const [first, second] = rowsOf(batch);
    expect(Object.keys(first ?? {})).toEqual(['_receipt', 'time', '_rescued_data']);
    expect(second).not.toHaveProperty('_rescued_data');
  });

  test('is like none in a new table, which may be as wide as a table may be', () => {
    const plan = new TablePlan({ database: 'shop', table: 'orders', columns: new Map() });
    add(plan, keys(limits.columnsMax + 5), keys(600));
    expect(plan.batch().columns.size).toBe(limits.columnsMax);
  });
});
