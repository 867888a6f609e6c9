import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../base/index.ts';
import {
  checkDatabase,
  checkTable,
  columnName,
  type Context,
  decodeSubmission,
  type Dialect,
  encodeSubmission,
  fingerprintOf,
  readRecord,
  type Submission,
} from './index.ts';

const receivedAtMs = 1_700_000_000_999;
const received = 1_700_000_000;
const day = 86_400;

/** What a record becomes: its time, its id, and its members as one text. */
function read(dialect: Dialect, json: string, context: Context = {}) {
  const record = readRecord({
    database: 'shop',
    table: 'orders',
    fingerprint: fingerprintOf('k'),
    receivedAtMs,
    dialect,
    context,
    body: Buffer.from(json),
    index: 2,
  });
  const members = record.members.map(({ key, text }) => `${JSON.stringify(key)}:${text}`).join();
  return { time: record.time, from: record.timeFrom, id: record.id, members: `{${members}}` };
}

describe('td_record_time', () => {
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
  ])('%s gives %i', (json, expected) => {
    const body = `{"td_record_time":${json}}`;
    expect(read('postback', body)).toMatchObject({ time: expected, members: body });
  });

  test('comes from the query when the body has none; without one, the time of receipt', () => {
    const context = { recordTime: String(received - 5) };
    expect(read('postback', '{}', context).time).toBe(received - 5);
    expect(read('postback', `{"td_record_time":${received - 9}}`, context).time).toBe(received - 9);
    expect(read('postback', '{}')).toMatchObject({ time: received, from: 'receipt' });
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

describe('a record by its dialect', () => {
  test.each<[Dialect, string, number, string]>([
    // Not a postback's: what is no time of ours stays, and is rescued as a column of ours.
    ['postback', '{"time":5}', received, '{"time":5}'],
    ['query', '{"time":"5"}', received, '{"time":"5"}'],
    ['js', '{"time":5,"a":1}', 5, '{"a":1}'],
    ['ingest', '{"a":1,"time":"1600000000"}', 1_600_000_000, '{"a":1}'],
    ['ingest', '{"time":1600000000.5}', 1_600_000_000, '{"time":1600000000.5}'],
    ['ingest', '{"time":1600000000000}', received, '{"time":1600000000000}'],
    ['ingest', '{"time":"soon"}', received, '{"time":"soon"}'],
    ['ingest', '{"time":-1}', received, '{"time":-1}'],
    ['ingest', `{"td_record_time":${received - 9}}`, received - 9, ''],
  ])('%s: the time in %s', (dialect, json, time, members) => {
    expect(read(dialect, json)).toMatchObject({ time, members: members || json });
  });

  test('js: the time of the query, when the record has none', () => {
    expect(read('js', '{"a":1}', { time: '7' })).toMatchObject({ time: 7, members: '{"a":1}' });
    expect(read('js', '{"time":8}', { time: '7' })).toMatchObject({ time: 8, members: '{}' });
  });

  const uuid = '6F9619FF-8B86-D011-B42D-00CF4FC964FF';
  test.each<[Dialect, string, string | undefined, string]>([
    ['ingest', `{"uuid":"${uuid}","a":1}`, `uuid ${uuid.toLowerCase()}`, '{"a":1}'],
    ['ingest', '{"uuid":"of the user"}', undefined, '{"uuid":"of the user"}'],
    ['ingest', '{"uuid":7}', undefined, '{"uuid":7}'],
    ['postback', `{"uuid":"${uuid}"}`, undefined, `{"uuid":"${uuid}"}`],
    ['keen', '{"#UUID":"any text","a":1}', '#UUID any text', '{"a":1}'],
    ['keen', '{"#UUID":5}', undefined, '{"#UUID":5}'],
  ])('%s: the id in %s', (dialect, json, id, members) => {
    expect(read(dialect, json)).toMatchObject({ id, members });
  });

  test('the Idempotency-Key is the id of those that have none, with their place', () => {
    const sender = fingerprintOf('k').toString('hex');
    expect(read('postback', '{}', { idempotencyKey: 'once' }).id).toBe(`key ${sender} once/2`);
    expect(read('keen', '{"#UUID":"own"}', { idempotencyKey: 'once' }).id).toBe('#UUID own');
  });

  test.each<[string, number, string]>([
    ['{"keen":{"timestamp":"2015-01-02T03:04:05.678Z"},"a":1}', 1_420_167_845, '{"a":1}'],
    ['{"keen":{"timestamp":"2015-01-02T04:04:05+01:00"}}', 1_420_167_845, '{}'],
    ['{"keen":{"timestamp":"2015-01-02"}}', received, '{"keen":{"timestamp":"2015-01-02"}}'],
    ['{"keen":{"timestamp":"2015-13-02T03:04:05Z"}}', received, ''],
    ['{"keen":"now"}', received, '{"keen":"now"}'],
    ['{"keen":[1]}', received, '{"keen":[1]}'],
    [
      '{"keen":{"more":1,"timestamp":"2015-01-02T03:04:05Z"}}',
      1_420_167_845,
      '{"keen":{"more":1,"timestamp":"2015-01-02T03:04:05Z"}}',
    ],
    ['{"keen":{"timestamp":"2015-01-02T03:04:05Z"},"#SSUT":true}', received, '{}'],
    [
      '{"keen":{"timestamp":"2015-01-02T03:04:05Z"},"#SSUT":"uploaded"}',
      1_420_167_845,
      `{"uploaded":${received}}`,
    ],
    ['{"#SSUT":false}', received, '{}'],
    ['{"#SSUT":null}', received, '{"#SSUT":null}'],
  ])('keen: %s', (json, time, members) => {
    expect(read('keen', json)).toMatchObject({ time, members: members || json });
  });

  const context: Context = {
    ip: '192.0.2.7',
    userAgent:
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) ' +
      'Chrome/120.0.0.0 Safari/537.36',
    globalId: 'visitor-1',
  };
  const asked =
    '{"td_ip":"td_ip","td_global_id":"td_global_id","td_browser":"td_browser",' +
    '"td_browser_version":"td_browser_version","td_os":"td_os","td_os_version":"td_os_version"}';
  const filled =
    '{"td_ip":"192.0.2.7","td_global_id":"visitor-1","td_browser":"Chrome",' +
    '"td_browser_version":"120.0.0.0","td_os":"Windows","td_os_version":"10"}';

  test.each<[Dialect, string]>([
    ['postback', filled],
    ['query', filled],
    ['js', filled],
    ['ingest_js', filled],
    ['ingest_mobile', filled],
    ['ingest', asked],
  ])('%s: placeholders', (dialect, expected) => {
    expect(read(dialect, asked, context).members).toBe(expected);
  });

  test('a placeholder of which nothing is known has no value; any other value stays', () => {
    expect(read('postback', asked).members).toBe('{}');
    const own = '{"td_ip":"td_ua","td_ua":"","td_os":["td_os"],"other":"td_ip"}';
    expect(read('postback', own, context).members).toBe(own);
  });

  test('a placeholder in escapes is none, and stays', () => {
    const escaped = '{"td_\\u0069p":"td_ip"}';
    expect(read('postback', escaped, context).members).toBe('{"td_ip":"td_ip"}');
  });

  test.each(['ingest_mobile', 'ingest_js'] as const)(
    '%s: the address is added, unless the event has one',
    (dialect) => {
      expect(read(dialect, '{"a":1}', context).members).toBe('{"a":1,"td_ip":"192.0.2.7"}');
      const own = '{"td_ip":"10.0.0.1"}';
      expect(read(dialect, own, context).members).toBe(own);
    },
  );

  test('user agents without end are parsed without keeping them all', () => {
    for (let count = 0; count < 3_000; count += 1) {
      const userAgent = `Mozilla/5.0 Firefox/${count}.0 ${'x'.repeat(900)}`;
      const { members } = read('js', '{"td_browser_version":"td_browser_version"}', { userAgent });
      expect(members).toBe(`{"td_browser_version":"${count}.0"}`);
    }
  });
});

describe('the envelope', () => {
  const name = fc.stringMatching(/^[a-z0-9_]{3,255}$/);
  const body = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
  const groups = fc.array(
    fc.record({ database: name, table: name, bodies: fc.array(body, { minLength: 1 }) }),
    { minLength: 1, maxLength: 5 },
  );
  const dialect = fc.constantFrom<Dialect>('postback', 'query', 'js', 'ingest', 'keen');
  const context = fc.oneof(fc.constant({}), fc.record({ ip: fc.string(), time: fc.string() }));
  const fingerprint = fingerprintOf('key');

  test('gives back what was put in, byte for byte, each event at a place of its own', () => {
    const time = fc.nat({ max: Number.MAX_SAFE_INTEGER });
    fc.assert(
      fc.property(dialect, context, groups, time, (form, beside, parts, receivedAt) => {
        const shared = { fingerprint, dialect: form, context: beside, receivedAtMs: receivedAt };
        const encoded = encodeSubmission({ ...shared, groups: parts });
        const placed = decodeSubmission(encoded);
        const events = parts.flatMap(({ database, table, bodies }) =>
          bodies.map((bytes) => ({ ...shared, database, table, body: bytes })),
        );
        expect(placed.map(({ postback }) => postback)).toEqual(
          events.map((event, index) => ({ ...event, index })),
        );
        expect(new Set(placed.map(({ at }) => at)).size).toBe(events.length);
        expect(placed.every(({ at }) => at < encoded.length)).toBe(true);
      }),
    );
  });

  test('a plain postback is written as the first version was', () => {
    const submission: Submission = {
      dialect: 'postback',
      receivedAtMs: 0x0102,
      fingerprint,
      context: {},
      groups: [{ database: 'shop', table: 'orders', bodies: [Buffer.from('{"a":1}')] }],
    };
    const head = Buffer.from('01040600020100000000000000'.slice(0, 24), 'hex');
    const expected = Buffer.concat([head, fingerprint, Buffer.from('shoporders{"a":1}')]);
    expect(encodeSubmission(submission)).toEqual(expected);
  });
});
