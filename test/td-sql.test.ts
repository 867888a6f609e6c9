import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { macrosSql } from '../src/store/td-macros.ts';
import { Line } from './support/line.ts';
import { millrace, temporaryDirectory } from './support/server.ts';

/* SQL that users of Treasure Data bring: docs/from-treasure-data.md. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let line: Line;
beforeAll(async () => {
  directory = await temporaryDirectory();
  line = await Line.open(directory.path);
});
afterAll(async () => {
  await line.close();
  await directory.remove();
});

/** The first value of the first row. */
const value = async (expression: string) => (await line.rows(`SELECT ${expression}`))[0]?.[0];
const unix = (iso: string) => Date.parse(iso) / 1000;
const failure = (expression: string) =>
  line.rows(`SELECT ${expression}`).then(
    () => 'no error',
    (error: unknown) => (error as Error).message,
  );

describe('times', () => {
  test.each([
    ["'2026-01-31'", '2026-01-31T00:00:00Z'],
    ["'2026-01-31', 'JST'", '2026-01-31T00:00:00+09:00'],
    ["'2026-01-31', 'jst'", '2026-01-31T00:00:00+09:00'],
    ["'2026-01-31', 'Asia/Tokyo'", '2026-01-31T00:00:00+09:00'],
    ["'2026-01-31', '+0900'", '2026-01-31T00:00:00+09:00'],
    ["'2026-01-31', '-03:00'", '2026-01-31T00:00:00-03:00'],
    ["'2026-01-31', 'UTC+9'", '2026-01-31T00:00:00+09:00'],
    ["'2026-01-31', 'GMT-10:00'", '2026-01-31T00:00:00-10:00'],
    ["'2026-01-31', 'PDT'", '2026-01-31T00:00:00-07:00'],
    ["'2026-01-31', 'EDT'", '2026-01-31T00:00:00-04:00'],
    ["'2026-07-31', 'PST'", '2026-07-31T00:00:00-07:00'],
    ["'2026-01-31 PDT', 'JST'", '2026-01-31T00:00:00-07:00'],
    ["'2026-01-31 12:34:56'", '2026-01-31T12:34:56Z'],
    ["'2026-01-31 12:34:56.789'", '2026-01-31T12:34:56Z'],
    ["'2026-01-31T12:34:56', 'JST'", '2026-01-31T12:34:56+09:00'],
    ["'2026-01-31T12:34:56Z', 'JST'", '2026-01-31T12:34:56Z'],
    ["'2026-01-31 12:34:56 UTC', 'JST'", '2026-01-31T12:34:56Z'],
    ["'2026-01-31 12:34:56 America/Los_Angeles'", '2026-01-31T12:34:56-08:00'],
    ["'2026-07-31 12:34:56 America/Los_Angeles'", '2026-07-31T12:34:56-07:00'],
    ["'2026-01-31 12:34:56-0700', 'JST'", '2026-01-31T12:34:56-07:00'],
    ["'2026-01-31T12:34:56+05:30'", '2026-01-31T12:34:56+05:30'],
    ["'2026-01-31 12:34:56+00', 'JST'", '2026-01-31T12:34:56Z'],
    ["'2026-01-31 +0530'", '2026-01-31T00:00:00+05:30'],
    ["'2026-01-31 +05:30'", '2026-01-31T00:00:00+05:30'],
    ["'1969-12-31 23:59:59'", '1969-12-31T23:59:59Z'],
    ["max(t) FROM (SELECT '2026-01-31' AS t)", '2026-01-31T00:00:00Z'],
    ["DATE '2026-01-31', 'JST'", '2026-01-31T00:00:00+09:00'],
    ["TIMESTAMPTZ '2026-01-31 12:00:00+00', 'JST'", '2026-01-31T12:00:00Z'],
    ['1769817600', '2026-01-31T00:00:00Z'],
  ])('TD_TIME_PARSE(%s)', async (given, iso) => {
    const [argument, rest = ''] = given.split(/(?<=\))(?= FROM)/);
    expect(await value(`TD_TIME_PARSE(${argument})${rest}`)).toBe(unix(iso));
  });

  test.each([
    ["'2026-01-31', '1d'", '2026-02-01T00:00:00Z'],
    ["'2026-01-31', '-7d', 'JST'", '2026-01-24T00:00:00+09:00'],
    ["'2026-01-31', '1d2h30m'", '2026-02-01T02:30:00Z'],
    ["'2026-01-31', '-1h30m'", '2026-01-30T22:30:00Z'],
    ["'2026-01-31', '2w'", '2026-02-14T00:00:00Z'],
    ["'2026-01-31', '+90s'", '2026-01-31T00:01:30Z'],
    ["'2026-01-31', '1day'", '2026-02-01T00:00:00Z'],
    ["1769817600, '48h'", '2026-02-02T00:00:00Z'],
    ["'2026-01-31', unnest([1])::VARCHAR || 'd'", '2026-02-01T00:00:00Z'],
    // A day is 24 hours, also when the clocks change.
    ["'2026-03-08', '1d', 'America/Los_Angeles'", '2026-03-09T01:00:00-07:00'],
  ])('TD_TIME_ADD(%s)', async (given, iso) => {
    expect(await value(`TD_TIME_ADD(${given})`)).toBe(unix(iso));
  });

  const [sunday, newYear] = ["TD_TIME_PARSE('2026-03-08 09:59:58')", '1767225599'];
  test.each([
    [`'minute', ${sunday}`, '2026-03-08T09:59:00Z'],
    [`'hour', ${sunday}, 'JST'`, '2026-03-08T18:00:00+09:00'],
    [`'hour', ${sunday}, 'Asia/Kolkata'`, '2026-03-08T15:00:00+05:30'],
    [`'DAY', ${sunday}, 'JST'`, '2026-03-08T00:00:00+09:00'],
    [`'week', ${sunday}`, '2026-03-02T00:00:00Z'],
    [`'week', ${sunday} + 7 * 3600, 'JST'`, '2026-03-09T00:00:00+09:00'],
    [`'month', ${newYear}`, '2025-12-01T00:00:00Z'],
    [`'month', ${newYear}, 'JST'`, '2026-01-01T00:00:00+09:00'],
    [`'quarter', ${newYear}`, '2025-10-01T00:00:00Z'],
    [`'quarter', ${newYear}, 'JST'`, '2026-01-01T00:00:00+09:00'],
    [`'year', ${newYear}, 'America/Los_Angeles'`, '2025-01-01T00:00:00-08:00'],
    ["'hour', -1", '1969-12-31T23:00:00Z'],
    // The clocks are put on at 2 and back at 2: that day begins in the other offset.
    [`'day', ${sunday} + 3600, 'America/Los_Angeles'`, '2026-03-08T00:00:00-08:00'],
    [`'hour', ${unix('2026-11-01T01:30:00-07:00')}, 'PST'`, '2026-11-01T01:00:00-07:00'],
    [`'hour', ${unix('2026-11-01T01:30:00-08:00')}, 'PST'`, '2026-11-01T01:00:00-08:00'],
    [`'day', ${unix('2026-11-01T23:00:00-08:00')}, 'PST'`, '2026-11-01T00:00:00-07:00'],
  ])('TD_DATE_TRUNC(%s)', async (given, iso) => {
    expect(await value(`TD_DATE_TRUNC(${given})`)).toBe(unix(iso));
    expect(
      await value(`TD_DATE_TRUNC(${given.replace(', ', ', t + ')}) FROM (SELECT 0 AS t)`),
    ).toBe(unix(iso));
  });

  test('TD_TIME_RANGE takes its beginning and not its end', async () => {
    const within = async (given: string) => {
      const rows = await line.rows(
        `SELECT n FROM (SELECT unnest(range(-2, 3)) AS n, ${unix('2026-01-31T00:00:00Z')} + n * 3600
          AS time) WHERE TD_TIME_RANGE(time, ${given})`,
      );
      return rows.map(([n]) => Number(n)).join(' ');
    };
    expect(await within("'2026-01-31', '2026-01-31 02:00:00'")).toBe('0 1');
    expect(await within("'2026-01-31', '2026-02-01'")).toBe('0 1 2');
    expect(await within("'2026-01-31 09:00:00', '2026-01-31 10:00:00', 'JST'")).toBe('0');
    expect(await within("'2026-01-31 09:00:00', '2026-01-31 00:30:00 UTC', 'JST'")).toBe('0');
    expect(await within('1769817600, 1769817601')).toBe('0');
    expect(await within("TD_TIME_ADD('2026-01-31', '-1h'), '2026-01-31'")).toBe('-1');
    expect(await within("'2026-01-31'")).toBe('0 1 2');
    expect(await within("'2026-01-30 16:00:00 PDT'")).toBe('-1 0 1 2');
    expect(await within("NULL, '2026-01-31'")).toBe('-2 -1');
    expect(await within("'2026-01-31 09:00:00', NULL, 'JST'")).toBe('0 1 2');
    expect(await within('NULL, NULL')).toBe('-2 -1 0 1 2');
  });
});

describe('intervals', () => {
  test.each([
    ["'-1d/2026-03-31'", '2026-03-30T00:00:00Z', '2026-03-31T00:00:00Z'],
    ["'1d/2026-03-31', 'JST'", '2026-03-31T00:00:00+09:00', '2026-04-01T00:00:00+09:00'],
    ["'+1d/2026-03-31'", '2026-03-31T00:00:00Z', '2026-04-01T00:00:00Z'],
    ["'-7d/2026-03-04', 'JST'", '2026-02-25T00:00:00+09:00', '2026-03-04T00:00:00+09:00'],
    ["'-1w/2026-03-04'", '2026-02-23T00:00:00Z', '2026-03-02T00:00:00Z'],
    ["'1w/2026-03-04'", '2026-03-02T00:00:00Z', '2026-03-09T00:00:00Z'],
    ["'-1M/2026-03-31'", '2026-02-01T00:00:00Z', '2026-03-01T00:00:00Z'],
    ["'-1q/2026-05-15'", '2026-01-01T00:00:00Z', '2026-04-01T00:00:00Z'],
    ["'-2q/2026-05-15'", '2025-10-01T00:00:00Z', '2026-04-01T00:00:00Z'],
    ["'1q/2026-12-31'", '2026-10-01T00:00:00Z', '2027-01-01T00:00:00Z'],
    ["'-1y/2026-03-31'", '2025-01-01T00:00:00Z', '2026-01-01T00:00:00Z'],
    ["'1y/2026-03-31'", '2026-01-01T00:00:00Z', '2027-01-01T00:00:00Z'],
    ["'-1h/2026-01-01 01:23:45'", '2026-01-01T00:00:00Z', '2026-01-01T01:00:00Z'],
    ["'-15m/2026-01-01 01:23:45'", '2026-01-01T01:08:00Z', '2026-01-01T01:23:00Z'],
    ["'-30s/2026-01-01 01:23:45'", '2026-01-01T01:23:15Z', '2026-01-01T01:23:45Z'],
    ["'-1h/2026-01-01', 'Asia/Kolkata'", '2025-12-31T23:00:00+05:30', '2026-01-01T00:00:00+05:30'],
    // 23 hours, 25 hours, and an hour that is there twice.
    ["'1d/2026-03-08', 'PST'", '2026-03-08T00:00:00-08:00', '2026-03-09T00:00:00-07:00'],
    ["'1d/2026-11-01', 'PST'", '2026-11-01T00:00:00-07:00', '2026-11-02T00:00:00-08:00'],
    ["'-1h/2026-03-08 03:30:00', 'PST'", '2026-03-08T01:00:00-08:00', '2026-03-08T03:00:00-07:00'],
  ])('TD_INTERVAL_RANGE(%s)', async (given, from, to) => {
    const ends = [unix(from), unix(to)];
    expect(await value(`TD_INTERVAL_RANGE(${given})`)).toEqual(ends);
    const near = ends.flatMap((end) => [end - 1, end]).join(', ');
    expect(
      await line
        .rows(`SELECT TD_INTERVAL(unnest([${near}]), ${given})`)
        .then((rows) => rows.flat()),
    ).toEqual([false, true, true, false]);
  });

  const begin = (unit: string, time = 'now') => `TD_DATE_TRUNC('${unit}', ${time}, 'JST')`;
  const [today, month] = [begin('day'), begin('month')];
  const lastMonth = begin('month', `${month} - 1`);
  test.each([
    ['-1d', `${today} - 86400`, today],
    ['1d', today, `${today} + 86400`],
    ['0d', today, today],
    ['-7d', `${today} - 7 * 86400`, today],
    ['-1w', `${begin('week')} - 7 * 86400`, begin('week')],
    ['-1M', lastMonth, month],
    ['-1d/now', `${today} - 86400`, 'now'],
    ['0M/now', month, 'now'],
    ['1d/now', 'now', `${today} + 86400`],
    ['-1h/now', `${begin('hour')} - 3600`, 'now'],
    ['-1h/0d', `${today} - 3600`, today],
    ['-1d/-1d', `${today} - 2 * 86400`, `${today} - 86400`],
    ['-10d/-1M', `${lastMonth} - 10 * 86400`, lastMonth],
    ['0M/-7d', begin('month', `${today} - 7 * 86400`), `${today} - 7 * 86400`],
  ])('%s is from now', async (interval, from, to) => {
    const rows = await line.rows(`SELECT TD_INTERVAL_RANGE('${interval}', 'JST'), [${from}, ${to}]
      FROM (SELECT TD_SCHEDULED_TIME() AS now)`);
    expect(rows[0]?.[0]).toEqual(rows[0]?.[1]);
  });

  test('TD_SCHEDULED_TIME is the time of the query', async () => {
    const before = Math.floor(Date.now() / 1000);
    const [row] = await line.rows(
      'SELECT min(t), max(t) FROM (SELECT TD_SCHEDULED_TIME() AS t FROM range(1000000))',
    );
    expect(row?.[0]).toBe(row?.[1]);
    expect(row?.[0]).toBeGreaterThanOrEqual(before);
    expect(row?.[0]).toBeLessThanOrEqual(Date.now() / 1000);
  });
});

describe('texts', () => {
  const time = unix('2026-02-03T16:05:09Z');
  test.each([
    ["'yyyy-MM-dd HH:mm:ss z'", '2026-02-03 16:05:09 UTC'],
    ["'yyyy-MM-dd HH:mm:ss z', 'JST'", '2026-02-04 01:05:09 JST'],
    ["'yyyy-MM-dd HH:mm:ss z', 'PST'", '2026-02-03 08:05:09 PST'],
    ["'yyyy-MM-dd z', 'Asia/Tokyo'", '2026-02-04 GMT+09:00'],
    ["'HH:mm:ssZ', 'America/Los_Angeles'", '08:05:09-0800'],
    ["'HH:mm Z', 'Asia/Kolkata'", '21:35 +0530'],
    ["'yyyy/M/d H:m:s'", '2026/2/3 16:5:9'],
    ["'yy MMM MMMM E EEEE u D DDD'", '26 Feb February Tue Tuesday 2 34 034'],
    ["'hh:mm a', 'JST'", '01:05 AM'],
    ["'yyyy-MM-dd''T''HH:00:00.SSS'", '2026-02-03T16:00:00.000'],
    ["'''50%'' d ''''G'", "50% 3 'AD"],
    ["'h ''o''''clock'''", "4 o'clock"],
    ["'yyyyMMddHHmmss'", '20260203160509'],
    ["'年月 yyyy'", '年月 2026'],
    ["''", ' '],
  ])('TD_TIME_FORMAT(time, %s)', async (given, text) => {
    expect(await value(`TD_TIME_FORMAT(${time}, ${given})`)).toBe(text);
    expect(await value(`TD_TIME_FORMAT(time, ${given}) FROM (SELECT ${time} AS time)`)).toBe(text);
  });

  test('the name of a zone follows the clocks', async () => {
    const summer = unix('2026-07-01T12:00:00Z');
    expect(await value(`TD_TIME_FORMAT(${summer}, 'HH z Z', 'PST')`)).toBe('05 PDT -0700');
    expect(await value(`TD_TIME_FORMAT(${summer}, 'HH z Z', 'PDT')`)).toBe('05 PDT -0700');
    expect(await value(`TD_TIME_FORMAT(${summer}, 'HH z Z', 'EST')`)).toBe('07 EST -0500');
  });

  test.each([
    ['y', '2026-01-01 00:00:00+0900', '2026'],
    ['q', '2026-01-01 00:00:00+0900', '2026-01'],
    ['M', '2026-02-01 00:00:00+0900', '2026-02'],
    ['w', '2026-02-02 00:00:00+0900', '2026-02-02'],
    ['d', '2026-02-04 00:00:00+0900', '2026-02-04'],
    ['h', '2026-02-04 01:00:00+0900', '2026-02-04 01'],
    ['m', '2026-02-04 01:05:00+0900', '2026-02-04 01:05'],
    ['s', '2026-02-04 01:05:09+0900', '2026-02-04 01:05:09'],
  ])('TD_TIME_STRING with %s, and with !', async (code, whole, cut) => {
    expect(await value(`TD_TIME_STRING(${time}, '${code}', 'JST')`)).toBe(whole);
    expect(await value(`TD_TIME_STRING(${time}, '${code}!', 'JST')`)).toBe(cut);
    expect(await value(`TD_TIME_STRING(${time}, '${code}')`)).toMatch(/\+0000$/);
  });

  test('TD_TIME_STRING shows the offset of what it shows', async () => {
    const string = (iso: string, code: string) =>
      value(`TD_TIME_STRING(${unix(iso)}, '${code}', 'America/Los_Angeles')`);
    expect(await string('2026-03-08T12:00:00Z', 'd')).toBe('2026-03-08 00:00:00-0800');
    expect(await string('2026-03-08T12:00:00Z', 'h')).toBe('2026-03-08 05:00:00-0700');
    expect(await string('2026-11-01T01:30:00-07:00', 'h')).toBe('2026-11-01 01:00:00-0700');
    expect(await string('2026-11-01T01:30:00-08:00', 's')).toBe('2026-11-01 01:30:00-0800');
  });

  test('grouping by one', async () => {
    const day = "TD_TIME_STRING(time, 'd!', 'JST')";
    const rows = await line.rows(`SELECT ${day} AS day, count(*) FROM (SELECT unnest([
      ${time}, ${time} + 60, ${time} - 86400]) AS time) GROUP BY ${day} ORDER BY 1`);
    expect(rows).toEqual([
      ['2026-02-03', 1],
      ['2026-02-04', 2],
    ]);
  });
});

describe('NULL and errors', () => {
  test.each([
    'TD_TIME_PARSE(NULL)',
    "TD_TIME_PARSE('2026-01-31', NULL)",
    "TD_TIME_ADD(NULL, '1d')",
    'TD_TIME_ADD(0, NULL)',
    "TD_DATE_TRUNC('day', NULL)",
    'TD_DATE_TRUNC(NULL, 0)',
    "TD_TIME_FORMAT(NULL, 'yyyy')",
    "TD_TIME_FORMAT(NULL, 'yyyy Z')",
    'TD_TIME_FORMAT(0, NULL)',
    "TD_TIME_FORMAT(0, 'yyyy', NULL)",
    "TD_TIME_STRING(NULL, 'd!')",
    'TD_TIME_STRING(0, NULL)',
    "TD_TIME_RANGE(NULL, '2026-01-31')",
    'TD_INTERVAL_RANGE(NULL)',
    'TD_INTERVAL(0, NULL)',
    "TD_INTERVAL(NULL, '-1d')",
    "TRY(TD_TIME_PARSE('yesterday'))",
  ])('%s is NULL', async (expression) => {
    expect(await value(expression)).toBeNull();
    expect(await value(`${expression} FROM (SELECT 1) AS t`)).toBeNull();
  });

  test.each([
    ["TD_TIME_PARSE('yesterday')", /"yesterday is no time".*YYYY-MM-DD/],
    ["TD_TIME_PARSE('2026')", /"2026 is no time"/],
    ["TD_TIME_PARSE('')", /" is no time"/],
    ["TD_TIME_PARSE('infinity')", /"infinity is no time"/],
    ["TD_TIME_PARSE('2026-02-30')", /2026-02-30/],
    ["TD_TIME_PARSE('2026-01-31', 'Mars')", /Unknown TimeZone 'Mars'/],
    ["TD_TIME_PARSE('2026-01-31', '+0530')", /Unknown TimeZone '\+0530'/],
    ["TD_TIME_PARSE('2026-01-31', 'UTC+5:30')", /Unknown TimeZone '\+5:30'/],
    ["TD_TIME_PARSE('2026-01-31 12:00:00 Mars')", /Unknown TimeZone 'Mars'/],
    ["TD_TIME_PARSE('1769817600')", /"1769817600 is no time"/],
    ["TD_TIME_RANGE(9999999999, '2026-01-31', 'PDT')", /"PDT is no time"/],
    ["TD_TIME_ADD(0, '1M')", /^Invalid Input Error: TD_TIME_ADD: "1M" is no duration; expected/],
    ["TD_TIME_ADD(0, '1')", /"1" is no duration/],
    ["TD_TIME_ADD(0, '')", /"" is no duration/],
    ["TD_DATE_TRUNC('decade', 0)", /TD_DATE_TRUNC: "decade" is no unit; expected is minute/],
    ["TD_DATE_TRUNC('days of wine', 0)", /"days of wine" is no unit/],
    ["TD_DATE_TRUNC('day', '2026-01-31')", /Could not convert string '2026-01-31' to INT64/],
    ["TD_TIME_FORMAT(0, 'YYYY-ww')", /TD_TIME_FORMAT: "Y, w" in "YYYY-ww" is not understood/],
    ["TD_TIME_FORMAT(0, 'yyyyy')", /"yyyyy" in "yyyyy" is not understood/],
    ["TD_TIME_FORMAT(0, '''open')", /"'/],
    ["TD_TIME_STRING(0, 'yyyy-MM-dd')", /TD_TIME_STRING: "yyyy-MM-dd" is no format; expected is y/],
    ["TD_INTERVAL(0, '1x')", /TD_INTERVAL: "1x" is no interval; expected is one such as -1d/],
    ["TD_INTERVAL(0, '-1d/-1d/-1d')", /is no interval/],
    ["TD_INTERVAL(0, '-1d/2026-13-01')", /2026-13-01/],
    ["TD_INTERVAL(0, '-1d', 'Mars')", /Unknown TimeZone 'Mars'/],
    ["date_format(now(), '%D')", /date_format: "%D" in "%D" is not understood/],
    ["date_parse('1st', '%D')", /date_parse: "%D" in "%D" is not understood/],
  ])('%s says what it saw', async (expression, error) => {
    expect(await failure(expression)).toMatch(error);
    expect(await failure(`${expression} FROM (SELECT 1) AS t`)).toMatch(error);
  });
});

describe('names of Presto and Hive', () => {
  test.each([
    ['from_unixtime(1769817600)::VARCHAR', '2026-01-31 00:00:00+00'],
    ["to_unixtime(TIMESTAMP '2026-01-31 00:00:00')", 1769817600],
    ["date_format(from_unixtime(1769817609), '%Y-%m-%d %H:%i:%s')", '2026-01-31 00:00:09'],
    [
      "date_format(DATE '2026-01-05', '%c/%e %W %M %x-%v %T 100%%')",
      '1/5 Monday January 2026-02 00:00:00 100%',
    ],
    ["date_parse('2026-1-5 7:08', '%Y-%c-%e %k:%i')::VARCHAR", '2026-01-05 07:08:00'],
    ["day_of_week(DATE '2026-02-01')", 7],
    ["dow(DATE '2026-02-02')", 1],
    ["day_of_month(DATE '2026-02-02')", 2],
    ["day_of_year(DATE '2026-02-02')", 33],
    ['json_extract_scalar(\'{"a":{"b":["x"]}}\', \'$.a.b[0]\')', 'x'],
    ["json_extract_scalar('{\"a\":1.5}'::JSON, '$.a')", '1.5'],
    ["json_extract_scalar('{\"a\":{}}', '$.a')", null],
    ["json_extract_scalar('{\"a\":null}', '$.a')", null],
    ["json_extract_scalar('{', '$.a')", null],
    ['get_json_object(\'{"a":{"b":1}}\', \'$.a\')', '{"b":1}'],
    ["get_json_object('{', '$.a')", null],
    ["json_parse('[1]')->>0", '1'],
    ['element_at([1, 2, 3], -1)', 3],
    ['element_at([1], 7)', null],
    ["element_at(MAP {'a': 1}, 'a')", 1],
    ["element_at(MAP {'a': 1}, 'b')", null],
    ["regexp_like('a-1', '[0-9]')", true],
    ["array_join(ARRAY['a', NULL, 'b'], '/')", 'a/b'],
    ['nvl(NULL, 2)', 2],
    ["td_md5('a')", '0cc175b9c0f1b6a831c399e269772661'],
    ['approx_distinct(x) FROM (SELECT unnest([1, 1, 1]) AS x)', 1],
    ['approx_percentile(x, 0.5) FROM (SELECT unnest([1, 2, 3]) AS x)', 2],
  ])('%s', async (expression, expected) => {
    expect(await value(expression)).toBe(expected);
  });
});

describe('what it costs', () => {
  test('a range of time reaches the scan, and only what can match is read', async () => {
    await using place = await temporaryDirectory();
    const path = join(place.path, 'events.parquet');
    const duck = await DuckDBInstance.create(':memory:');
    const connection = await duck.connect();
    await connection.run(`ATTACH ':memory:' AS ml; ${macrosSql}
      SET search_path = 'memory.main,ml.td'`);
    // A row a minute for 139 days until now, in 98 groups.
    const last = Math.floor(Date.now() / 1000);
    await connection.run(`COPY (SELECT ${last} - (200000 - range) * 60 AS time,
      range::VARCHAR AS text FROM range(200001)) TO '${path}' (ROW_GROUP_SIZE 2048)`);
    const [day, next] = [60, 59].map((days) => {
      return new Date((last - days * 86_400) * 1000).toISOString().slice(0, 10);
    });
    const [from, to] = [unix(`${day}T00:00:00+09:00`), unix(`${next}T00:00:00+09:00`)];
    const scan = async (where: string) => {
      const sql = `EXPLAIN (ANALYZE, FORMAT JSON) SELECT max(text) FROM '${path}' WHERE ${where}`;
      const rows = (await connection.runAndReadAll(sql)).getRows();
      const text = String(rows[0]?.[1]);
      const [, filters = ''] = /"Filters": "(.*)"/.exec(text) ?? [];
      const [, bytes] = /"total_bytes_read": (\d+)/.exec(text) ?? [];
      return { filters, bytes: Number(bytes) };
    };
    const all = await scan("text <> ''");
    const yesterday = "TD_TIME_ADD(TD_DATE_TRUNC('day', TD_SCHEDULED_TIME(), 'JST'), '-1d')";
    const filter = `time>=${from} AND time<${to}`;
    for (const [where, filters] of [
      [`TD_TIME_RANGE(time, '${day}', '${next}', 'JST')`, filter],
      [`td_time_range(time, '${day}', TD_TIME_ADD('${day}', '1d', 'JST'), 'JST')`, filter],
      [`Td_Interval(time, '-1d/${next}', 'JST')`, filter],
      [`TD_TIME_RANGE(time, ${last} - 3600)`, `time>=${last - 3600}`],
      [`TD_TIME_RANGE(time, NULL, ${last - 138 * 86_400})`, `time<${last - 138 * 86_400}`],
      ["TD_INTERVAL(time, '-1d', 'JST')", /^time>=\d+ AND time<\d+$/],
      ["TD_INTERVAL(time, '-1h/now')", /^time>=\d+ AND time<\d+$/],
      [`TD_TIME_RANGE(time, ${yesterday}, TD_SCHEDULED_TIME())`, /^time>=\d+ AND time<\d+$/],
    ] as const) {
      const { filters: seen, bytes } = await scan(where);
      expect(seen, where).toEqual(
        typeof filters === 'string' ? filters : expect.stringMatching(filters),
      );
      expect(bytes * 10, where).toBeLessThan(all.bytes);
    }
    connection.closeSync();
    duck.closeSync();
  });

  test('a store is not written to because of them', async () => {
    const file = join(directory.path, 'store', 'millrace-1.duckdb');
    await line.reopen();
    const before = await readFile(file);
    await line.reopen();
    expect(await readFile(file)).toEqual(before);
    expect(
      await line.rows("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'td'"),
    ).toEqual([[0]]);
  });

  test('the zone of the machine does not count', async () => {
    await using place = await temporaryDirectory();
    await (await Line.open(place.path)).close();
    const sql = "SELECT from_unixtime(0)::VARCHAR AS a, TD_TIME_FORMAT(0, 'HH z') AS b";
    const args = ['query', '--data', place.path, '--format', 'json', sql];
    const ran = await millrace(args, { env: { TZ: 'Asia/Tokyo' } });
    expect(JSON.parse(ran.stdout)).toEqual([{ a: '1970-01-01 00:00:00+00', b: '00 UTC' }]);
  });
});
