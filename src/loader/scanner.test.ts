import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hardEvents, jsonOf } from '../../test/support/hard-events.ts';
import { readValues } from '../../test/support/values.ts';
import { fingerprintOf, readRecord } from '../event/index.ts';
import type { Column, ColumnType, TableSchema } from '../store/index.ts';
import { TablePlan } from './plan.ts';

/* The fast way against the slow one: rows, columns and counts must be the same to the bit. */

const receivedAtMs = 1_700_000_000_999;
const received = Math.floor(receivedAtMs / 1000);
const types: readonly ColumnType[] = ['BIGINT', 'DOUBLE', 'BOOLEAN', 'VARCHAR', 'JSON'];
const place = { database: 'shop', table: 'orders' };
const fingerprint = fingerprintOf('k');

function schema(columns: Readonly<Record<string, ColumnType>>): TableSchema {
  const entries = Object.entries(columns).map(([name, type]): [string, Column] => {
    return [name, { name, type, exactAsDouble: true }];
  });
  return { ...place, columns: new Map(entries) };
}

/** Bodies as they stand in the log, with where each is: what is around looks like more of it. */
function inLog(bodies: readonly Buffer[]): readonly (readonly [Buffer, number, number])[] {
  const [before, after] = [Buffer.from('{"a":"'), Buffer.from(',"z":1}"}],\n')];
  const bytes = Buffer.concat(bodies.flatMap((body) => [before, body, after]));
  let at = 0;
  return bodies.map((body) => {
    const from = at + before.length;
    const to = from + body.length;
    at = to + after.length;
    return [bytes, from, to];
  });
}

/** What a plan comes to, each value told from all others. */
function resultOf(plan: TablePlan, skews: readonly (number | undefined)[]) {
  const { rows, columns, rescued } = plan.batch();
  const names = [...rows.columns.keys()];
  const values = rows.cells().map((cells) => {
    const found = cells.map((cell, index) => {
      const type = cell === undefined ? '' : rows.columns.get(names[index] ?? '')?.type;
      return `${names[index]} ${type} ${Object.is(cell, -0) ? '-0' : String(cell)}`;
    });
    // Which column had a value first is of no account.
    return found.filter((text) => !text.endsWith('  undefined')).sort();
  });
  return { values, columns: [...columns.values()], rescued: [...rescued], skews };
}

/** How many events the fast way takes, when the rest goes the slow one. */
function compare(before: TableSchema, bodies: readonly Buffer[]): number {
  const [fast, slow] = [new TablePlan(before), new TablePlan(before)];
  const skews: [(number | undefined)[], (number | undefined)[]] = [[], []];
  const places = inLog(bodies);
  let taken = 0;
  for (const [offset, body] of bodies.entries()) {
    const postback = { ...place, fingerprint, receivedAtMs, index: 0, body };
    const source = {
      shard: 3,
      offset,
      keyId: 'k_1',
      postback: { ...postback, dialect: 'postback', context: {} },
    } as const;
    const record = readRecord(source.postback);
    slow.add(source, record);
    skews[1].push(record.skewSeconds);
    if (fast.addPlain(3, offset, receivedAtMs, ...places[offset]!)) {
      taken += 1;
      skews[0].push(fast.plainSkewSeconds(receivedAtMs));
    } else {
      fast.add(source, record);
      skews[0].push(record.skewSeconds);
    }
  }
  const text = bodies.map(String).join('\n');
  expect(resultOf(fast, skews[0]), text).toEqual(resultOf(slow, skews[1]));
  return taken;
}

const space = fc.constantFrom('', '', '', ' ', '\n\t ', '\r');
const texts = [
  '""',
  '"x"',
  '"td_ip"',
  `"${'long '.repeat(30)}"`,
  `"${'é😀'.repeat(20)}"`,
  String.raw`"a\"b"`,
  String.raw`"\\"`,
  String.raw`"\u00e9\n"`,
  String.raw`"\ud83d\ude00"`,
  String.raw`"\ud83d"`,
  '"42"',
  '"1.5"',
  '"true"',
  '"}"',
  '","',
];
const numbers = '0 -0 -0.0 7 -7 999999999999999 1000000000000000 123456789012345678 0.1 -2.50 1e3'
  .concat(' 9007199254740993 9223372036854775807 9223372036854775808 0.30000000000000004 1E-5')
  .concat(' 99999999999999.9 0.000000000000000000000001 0.0000000000000000000000000001 5.0 1.0e400')
  .split(' ');
const nested = [
  '{}',
  '[]',
  '[1, 2.50 ,"x"]',
  '{"a":{"b":[true,null]},"a":1}',
  String.raw`["\ud800"]`,
  String.raw`{"\uD800":1}`,
  String.raw`["\\ud800", "\u0041", "\""]`,
  '["]","}","{"]',
  `${'['.repeat(500)}${']'.repeat(500)}`,
  `${'['.repeat(501)}${']'.repeat(501)}`,
];
const times = [0, 60, -8 * 86_400, 4 * 86_400].map((seconds) => String(received + seconds));
const value = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...texts) },
  { weight: 3, arbitrary: fc.constantFrom(...numbers) },
  fc.constantFrom(...nested),
  fc.constantFrom('true', 'false', 'null', 'null'),
  fc.constantFrom(...times, ...times.map((time) => `"${time}"`), `${received}.5`),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => JSON.stringify(number)),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }).map(String),
  fc.string({ unit: 'binary', maxLength: 60 }).map((text) => JSON.stringify(text)),
);
const keys = ['a', 'b', 'c', 'd', 'e', 'A', 'a b', 'ä', 'td_ip', 'td_record_time', 'time', 'new']
  .map((key) => JSON.stringify(key))
  .concat(String.raw`"\u0061"`, String.raw`"td_record\u005ftime"`, '"_receipt"', '""');
const member = fc.tuple(fc.constantFrom(...keys), space, space, value, space);

/** An event whose members are spelled in all ways. */
const spelled = fc.tuple(fc.array(member, { maxLength: 9 }), space, space).map(([all, a, b]) => {
  const parts = all.map(([key, before, behind, text, end]) => {
    return `${key}${before}:${behind}${text}${end}`;
  });
  return Buffer.from(`${a}{${parts.join(`,${b}`)}}${b}`);
});

/** Values that fit the columns of `fits`, in an order that changes, some of them null. */
const fits = { a: 'BIGINT', b: 'DOUBLE', c: 'BOOLEAN', d: 'VARCHAR', e: 'JSON' } as const;
const fitting = fc
  .record({
    a: fc.integer().map(String),
    b: fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => JSON.stringify(number)),
    c: fc.boolean().map(String),
    d: fc.string({ maxLength: 80 }).map((text) => JSON.stringify(text)),
    e: fc.jsonValue({ maxDepth: 3 }).map((any) => JSON.stringify([any])),
    order: fc.shuffledSubarray(['a', 'b', 'c', 'd', 'e'] as const),
    nulls: fc.subarray(['a', 'b', 'c', 'd', 'e'] as const, { maxLength: 2 }),
  })
  .map(({ order, nulls, ...all }) => {
    const parts = order.map((key) => `"${key}":${nulls.includes(key) ? 'null' : all[key]}`);
    return Buffer.from(`{${parts.join(',')}}`);
  });

const schemas = fc
  .array(fc.constantFrom(...types), { minLength: 8, maxLength: 8 })
  .map(([a, b, c, d, e, a_b, td_ip, td_record_time]) => {
    return schema({ a, b, c, d, e, a_b, td_ip, td_record_time } as Record<string, ColumnType>);
  });

describe('the fast way makes the same of an event as the slow one', () => {
  test('if it is hard', () => {
    fc.assert(
      fc.property(hardEvents, schemas, fc.boolean(), (events, before, isNew) => {
        compare(
          isNew ? schema({}) : before,
          events.map(jsonOf).map((json) => Buffer.from(json)),
        );
      }),
      { numRuns: 1_000 },
    );
  });

  test('if it is spelled in another way', () => {
    fc.assert(
      fc.property(fc.array(spelled, { minLength: 1, maxLength: 8 }), schemas, (bodies, before) => {
        compare(before, bodies);
      }),
      { numRuns: 3_000 },
    );
  });

  test('of the corpus of hard values', () => {
    const isOne = (event: Buffer) => event.toString().trimStart().startsWith('{');
    const cases = readValues(received).filter(({ refusal, events }) => {
      return !refusal && events.every(isOne);
    });
    expect(cases.length).toBeGreaterThan(300);
    for (const { events } of cases) compare(schema({}), events);
    // Once more, when all columns are there.
    for (const { events } of cases) compare(schema({}), [...events, ...events]);
  });

  test.each([
    ['{"td_ip":"td_ip"}'],
    ['{"td_ip":"td_ip","a":1}', '{"td_ip":"td_i"}', '{"td_ip":"td_ipp"}', '{"a":1,"td_ip":null}'],
    [`{"td_record_time":null,"td_record_time":${received - 60}}`],
    [`{"td_record_time":${received - 60},"td_record_time":null}`],
    [`{"td_record_time":${received - 60},"td_record_time":${received - 70}}`],
    [`{"td_record_time":${received}.75}`, `{"td_record_time":${received - 8 * 86_400}}`],
    [`{"td_record_time":1,"td_record_time":"${received}"}`, '{"td_record_time":1e400}'],
    ['{"a":1}', '{"a":1.5,"b":{}}', '{"a":2}', '{"a":1.5}', '{"a":"2.5"}', '{"a":-0}'],
    ['{"a":9007199254740993}', '{"a":1.5}', '{"a":9007199254740993,"a":1}'],
    ['{"a":null,"a":1}', '{"a":1,"a":null}', '{"a":1,"A":1}', '{"A":1,"a":1}', '{"a":1,"ab":1}'],
    ['{"d":"\\u0041"}', '{"d":"plain"}', '{"d":"\\\\"}', '{"e":"\\ud800"}', '{"e":["\\uDc00"]}'],
    ['{"e":["]"],"a":1}', '{"e":["\\"]"],"a":1}', '{"e":"text"}', '{"e":1.10}', '{"e":true}'],
    ['{}', ' {} ', '{"new":null}', '{"new":1}', '{"new":2}', '{"time":null}', '{"time":1}'],
  ])('if it is %s', (...bodies) => {
    const columns = { ...fits, td_ip: 'VARCHAR', td_record_time: 'BIGINT' } as const;
    compare(
      schema(columns),
      bodies.map((body) => Buffer.from(body)),
    );
    compare(
      schema({}),
      bodies.map((body) => Buffer.from(body)),
    );
  });

  test('if it fits, and then takes most of them', () => {
    let [taken, all] = [0, 0];
    fc.assert(
      fc.property(fc.array(fitting, { minLength: 1, maxLength: 20 }), (bodies) => {
        taken += compare(schema(fits), bodies);
        all += bodies.length;
      }),
    );
    expect(taken / all).toBeGreaterThan(0.6);
  });

  test('if it is cut off or has something changed that makes it no JSON, it is not taken', () => {
    const body = '{"a":-12,"b":1.5,"c":true,"d":"x","e":{"x":[1]},"n":null}';
    const taken = (text: string) => {
      const [where] = inLog([Buffer.from(text)]);
      return new TablePlan(schema(fits)).addPlain(0, 0, 0, ...where!);
    };
    expect(taken(body)).toBe(true);
    for (let at = 0; at < body.length; at += 1) {
      expect(taken(body.slice(0, at)), `the first ${at} bytes`).toBe(false);
    }
    const wrong = [
      '{"a":1,}',
      '{"a":1 2}',
      '{"a" 1}',
      '{"a":1,,"b":1}',
      '{"c":truex}',
      '{"c":tru}',
    ];
    wrong.push(
      '{"c":trux}',
      '{"c":falsy}',
      '{"a"11}',
      '{"a":1"b":1}',
      '{"n":nule}',
      '{"a":1;"b":1.5}',
    );
    wrong.push('{"n":nul}', '{"n":nullx}', '{"d":x}', '{"a":1}x', '{"e":[}', '{a:1}', '["a"]', '');
    for (const text of wrong) expect(taken(text), text).toBe(false);
  });
});
