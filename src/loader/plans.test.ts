import { expect, test } from 'vitest';
import { limits } from '../base/index.ts';
import { fingerprintOf, readRecord } from '../event/index.ts';
import type { Column, ColumnType, TableBatch, TableSchema } from '../store/index.ts';
import { TablePlan } from './plan.ts';
import { Plans } from './plans.ts';

const place = { database: 'shop', table: 'orders' };
const receivedAtMs = 1_700_000_000_000;

function schema(names: readonly string[] = [], type: ColumnType = 'BIGINT'): TableSchema {
  const column = (name: string): Column => ({ name, type, exactAsDouble: true });
  return { ...place, columns: new Map(names.map((name) => [name, column(name)])) };
}

/** As it comes: on the fast way if that can be. */
function add(plan: TablePlan, text: string): void {
  const body = Buffer.from(text);
  const bytes = Buffer.concat([body, Buffer.from('\n')]);
  if (plan.addPlain(0, 1, receivedAtMs, bytes, 0, body.length)) return;
  const event = { ...place, fingerprint: fingerprintOf('k'), receivedAtMs, index: 0, body };
  const postback = { ...event, dialect: 'postback', context: {} } as const;
  plan.add({ shard: 0, offset: 1, postback, keyId: 'k_1' }, readRecord(postback));
}

function told({ columns, rows, rescued, duplicates, ids }: TableBatch) {
  const names = [...rows.columns.keys()];
  const values = rows.cells().map((cells) =>
    cells
      .map((cell, index) => `${names[index]} ${typeof cell} ${String(cell)}`)
      .filter((text) => !text.endsWith('undefined'))
      .sort(),
  );
  return { columns: [...columns.values()], values, rescued: [...rescued], duplicates, ids };
}

const long = `"${'x'.repeat(3_000)}"`;
const many = Array.from({ length: 700 }, (_, n) => `{"a":${n},"s":"text ${n}","b":true}`);
const batches = [
  ['{"a":1,"s":"one","b":true}', '{"a":"wrong","td_record_time":1700000000}'],
  ['{"s":"two"}', `{"s":${long},"b":false}`],
  many,
  ['{"a":1}', '{"a":0.5}', '{"b":"wrong","new":[1]}'],
  ['{"a":2.25,"new":[2]}', '{"s":null}', '{}'],
  ['{"new":{"x":1},"b":false,"s":"\\u00e9"}'],
];

test('a plan that has rested makes of events what a new one makes of them', () => {
  const plans = new Plans();
  const first = plans.take('shop.orders', schema(), 0);
  let [plan, before] = [first, schema()];
  for (const bodies of batches) {
    const anew = new TablePlan(before);
    for (const body of bodies) for (const one of [plan, anew]) add(one, body);
    expect(told(plan.batch())).toEqual(told(anew.batch()));
    before = { ...place, columns: plan.batch().columns };
    plans.give('shop.orders', plan);
    plan = plans.take('shop.orders', before, 0);
    expect(plan).toBe(first);
  }
});

test('a table that somebody else has changed gets a new plan', () => {
  const plans = new Plans();
  const plan = plans.take('shop.orders', schema(['a']), 0);
  add(plan, '{"a":1}');
  plans.give('shop.orders', plan);
  const other = plans.take('shop.orders', schema(['a'], 'VARCHAR'), 0);
  expect(other).not.toBe(plan);
  add(other, '{"a":"text"}');
  expect(told(other.batch()).values).toEqual([
    ['_receipt bigint 1', 'a string text', `time bigint ${receivedAtMs / 1000}`],
  ]);
});

test('plans of too many columns are forgotten, the oldest first', () => {
  const plans = new Plans();
  const wide = schema(Array.from({ length: limits.columnsMax }, (_, n) => `k${n}`));
  const most = limits.plansColumnsMax / limits.columnsMax;
  const made = Array.from({ length: most + 1 }, (_, n) => plans.take(`shop.t${n}`, wide, 0));
  made.forEach((plan, n) => plans.give(`shop.t${n}`, plan));
  expect(plans.take('shop.t0', wide, 0)).not.toBe(made[0]);
  expect(plans.take('shop.t1', wide, 0)).toBe(made[1]);
  expect(plans.take(`shop.t${most}`, wide, 0)).toBe(made[most]);
});
