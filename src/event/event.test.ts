import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../base/index.ts';
import {
  checkDatabase,
  checkTable,
  columnName,
  decodeEnvelope,
  encodeEnvelope,
  fingerprintOf,
  membersOf,
  readPostback,
  recordTime,
} from './index.ts';

const receivedAtMs = 1_700_000_000_999;
const received = 1_700_000_000;
const day = 86_400;

describe('recordTime', () => {
  const timeOf = (json: string) => recordTime(membersOf(`{"t":${json}}`)[0], receivedAtMs);

  test.each([
    [`${received - 7 * day}`, received - 7 * day],
    [`${received - 7 * day - 1}`, received],
    [`${received + 3 * day}`, received + 3 * day],
    [`${received + 3 * day + 1}`, received],
    [`"${received - 60}"`, received - 60],
    [`"${received - 60}.75"`, received - 60],
    [`${received - 60}.75`, received - 60],
    [`1.6999999e9`, 1_699_999_900],
    [`${received}000`, received],
    ['"yesterday"', received],
    ['""', received],
    ['" 1700000000"', received],
    ['null', received],
    ['true', received],
    ['-1', received],
    ['1e400', received],
    ['[1700000000]', received],
  ])('td_record_time %s gives %i', (json, expected) => {
    expect(timeOf(json)).toBe(expected);
  });

  test('without one, the time of receipt', () => {
    expect(recordTime(undefined, receivedAtMs)).toBe(received);
  });
});

describe('names', () => {
  test.each(['abc', 'a_1', '___', '123', 'x'.repeat(255)])('"%s" is a name', (name) => {
    expect(checkDatabase(name)).toBe(name);
    expect(checkTable(name)).toBe(name);
  });

  test('capitals are lowered', () => {
    expect(checkDatabase('MyShop')).toBe('myshop');
  });

  test.each(['', 'ab', 'x'.repeat(256), 'a-b', 'a.b', 'a b', 'köln', 'a"b', "a'; --", '../..'])(
    '"%s" is none',
    (name) => {
      expect(checkTable(name)).toBeInstanceOf(MillraceError);
    },
  );

  test.each(['millrace', 'MAIN', 'temp', 'system', 'pg_catalog', 'information_schema'])(
    '%s is reserved for databases, not for tables',
    (name) => {
      expect(checkDatabase(name)).toMatchObject({ code: 'RESERVED_NAME' });
      expect(checkTable(name)).toBe(name.toLowerCase());
    },
  );

  test.each([
    ['param1', 'param1'],
    ['Param One', 'param_one'],
    ['1st', '_1st'],
    ['', '_'],
    ['a"b', 'a_b'],
    ['é😀', '__'],
    ['_x', '_x'],
  ])('the key "%s" goes to column %s', (key, expected) => {
    expect(columnName(key)).toBe(expected);
  });

  test('every key gives a name that is safe in SQL', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (key) => {
        expect(columnName(key)).toMatch(/^[a-z_][a-z0-9_]*$/);
      }),
    );
  });
});

describe('readPostback', () => {
  const request = {
    database: 'shop',
    table: 'orders',
    keyHeader: '1/header',
    keyQuery: '1/query',
    body: Buffer.from('{"a":1}'),
  };

  test('takes the key from the header before the query', () => {
    expect(readPostback(request, 5)).toEqual({
      database: 'shop',
      table: 'orders',
      fingerprint: fingerprintOf('1/header'),
      receivedAtMs: 5,
      body: request.body,
    });
    expect(readPostback({ ...request, keyHeader: '' }, 5)).toMatchObject({
      fingerprint: fingerprintOf('1/query'),
    });
  });

  test.each([
    ['MISSING_KEY', { keyHeader: undefined, keyQuery: '' }],
    ['BAD_KEY_FORM', { keyHeader: 'x'.repeat(257) }],
    ['BAD_NAME', { table: 'a' }],
    ['RESERVED_NAME', { database: 'main' }],
    ['MISSING_BODY', { body: Buffer.alloc(0) }],
    ['BAD_UTF8', { body: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]) }],
    ['BAD_JSON', { body: Buffer.from('{"a":1,}') }],
    ['BAD_JSON', { body: Buffer.from('{"a":NaN}') }],
    ['NOT_AN_OBJECT', { body: Buffer.from('null') }],
    ['NOT_AN_OBJECT', { body: Buffer.from('[{}]') }],
    ['NOT_AN_OBJECT', { body: Buffer.from('"{}"') }],
  ])('%s', (code, part) => {
    expect(readPostback({ ...request, ...part }, 5)).toMatchObject({ code });
  });
});

describe('the envelope', () => {
  test('gives back what was put in, byte for byte', () => {
    const name = fc.stringMatching(/^[a-z0-9_]{3,255}$/);
    const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
    const time = fc.nat({ max: Number.MAX_SAFE_INTEGER });
    fc.assert(
      fc.property(name, name, bytes, time, (database, table, body, at) => {
        const fingerprint = fingerprintOf(table);
        const postback = { database, table, fingerprint, receivedAtMs: at, body };
        expect(decodeEnvelope(encodeEnvelope(postback))).toEqual(postback);
      }),
    );
  });
});
