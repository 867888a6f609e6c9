import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../src/base/index.ts';
import { type HardEvent, hardEvents, jsonOf, lost } from './support/hard-events.ts';
import { RawConnection, type RawResponse } from './support/raw-connection.ts';
import { requestBytes } from './support/requests.ts';
import { createKey, millrace, temporaryDirectory, TestServer } from './support/server.ts';
import { readValues, type Value } from './support/values.ts';

/*
 * What becomes of hard values and names: docs/types.md. Every event goes over a real socket to a
 * real server; then every table is read to the letter, and at the end all events are counted.
 */

const now = Math.floor(Date.now() / 1000);
const values = readValues(now);
/** Cases of several events: they are sent once more, all in one request. */
const many = values.filter(({ events, refusal }) => events.length > 1 && !refusal);

type Row = Readonly<Record<string, string | null>>;
type Types = Readonly<Record<string, string>>;

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let key: string;
/** Events that were answered 200. */
let acknowledged = 0;
/** The answer to the last event of a case. */
const answers = new Map<Value, RawResponse>();
/** Types of columns by `database.table`. */
let types: ReadonlyMap<string, Types>;

beforeAll(async () => {
  directory = await temporaryDirectory();
  key = await createKey(directory.path, '*');
  server = await TestServer.start(directory.path);
  // What comes before a case is in its table when the case is sent.
  const stepsMax = Math.max(...values.map(({ events }) => events.length));
  for (let left = stepsMax; left > 0; left -= 1) {
    for (const value of values) {
      const event = value.events.at(-left);
      if (event) answers.set(value, await send(`/hard/${value.table}`, event));
    }
    await server.flush();
  }
  for (const { table, events } of many) {
    await send(`/once/${table}`, Buffer.from(`[${events.join(',')}]`));
  }
  await server.flush();
  types = await readTypes();
});

afterAll(async () => {
  await server.kill();
  await directory.remove();
});

async function send(path: string, body: Uint8Array): Promise<RawResponse> {
  using connection = await RawConnection.open(server.ingest);
  connection.send(requestBytes({ path, body }, key));
  const answer = await connection.response();
  if (!answer) throw new Error('the connection was closed without an answer');
  if (answer.status === 200) {
    acknowledged += (JSON.parse(answer.body) as { accepted?: number }).accepted ?? 1;
  }
  return answer;
}

/** As the engine has them, so that the catalog is checked too. */
async function readTypes(): Promise<ReadonlyMap<string, Types>> {
  const found = new Map<string, Map<string, string>>();
  const columns = await server.query<Record<'name' | 'column' | 'type', string>>(`
    SELECT schema_name || '.' || table_name AS name, column_name AS column, data_type AS type
    FROM duckdb_columns() WHERE schema_name IN ('hard', 'once')`);
  for (const { name, column, type } of columns) {
    found.set(name, (found.get(name) ?? new Map<string, string>()).set(column, type));
  }
  return new Map([...found].map(([name, all]) => [name, Object.fromEntries(all)]));
}

/** Every row of a table, each value as text. */
function rowsOf(name: string): Promise<readonly Row[]> {
  return server.query<Row>(`SELECT COLUMNS(*)::VARCHAR FROM ${name} ORDER BY _receipt`);
}

/** What is not NULL, in a form that can be compared and printed. */
function plain(row: Row, columns: Types): readonly string[] {
  return Object.entries(row)
    .filter(([name, text]) => text !== null && name !== '_receipt')
    .map(([name, text]) => `${short(name)}: ${short(normal(text ?? '', columns[name]))}`)
    .toSorted();
}

/** The engine writes a DOUBLE in its own way: another way to write the same bits is as good. */
function normal(text: string, type: string | undefined): string {
  if (type !== 'DOUBLE') return text;
  return Object.is(Number(text), -0) ? '-0' : String(Number(text));
}

function short(text: string): string {
  if (text.length < 1_000) return text;
  const digest = createHash('sha256').update(text, 'utf16le').digest('hex');
  return `${text.slice(0, 40)}… ${text.length} characters, ${digest}`;
}

async function expectTable(name: string, value: Value): Promise<void> {
  const own = { time: 'BIGINT', _rescued_data: 'VARCHAR', _receipt: 'VARCHAR' };
  const seenTypes = types.get(name) ?? {};
  const listed = (all: Types) => Object.entries(all).map((column) => column.join(' '));
  expect(listed(seenTypes).toSorted()).toEqual(listed({ ...own, ...value.types }).toSorted());
  const rows = await rowsOf(name);
  expect(rows.length).toBe(value.rows.length);
  for (const [index, wanted] of value.rows.entries()) {
    const { time, ...seen } = rows[index] ?? {};
    const { time: wantedTime, ...wantedRow } = wanted;
    expect(plain(seen, seenTypes)).toEqual(plain(wantedRow, value.types));
    if (wantedTime !== undefined) expect(time).toBe(wantedTime);
    else expect(Math.abs(Number(time) - now - 300)).toBeLessThanOrEqual(300);
  }
}

describe.each([...new Set(values.map(({ file }) => file))])('%s', (file) => {
  for (const value of values.filter((other) => other.file === file)) {
    test(value.name, async () => {
      const answer = answers.get(value);
      const { status = 200, match = '{' } = value.refusal ?? {};
      expect(answer?.status, answer?.body).toBe(status);
      expect(answer?.body).toContain(match);
      if (value.refusal) return;
      await expectTable(`hard.${value.table}`, value);
      if (many.includes(value)) await expectTable(`once.${value.table}`, value);
    });
  }
});

test('random events are held to the last digit', async () => {
  let tables = 0;
  // The more there are in a transaction, the other way they are stored.
  const more = Array.from({ length: limits.freshRowsOfTableMax + 1 }, () => '{}');
  const run = async (events: readonly HardEvent[], form: 'each' | 'together' | 'with more') => {
    const table = `events_${(tables += 1)}`;
    const texts = events.map(jsonOf);
    const all = form === 'with more' ? [...texts, ...more] : texts;
    for (const body of form === 'each' ? texts : [`[${all.join(',')}]`]) {
      expect((await send(`/random/${table}`, Buffer.from(body))).status).toBe(200);
    }
    await server.flush();
    const columns = await server.query<{ column: string; type: string }>(`
      SELECT "column", type FROM millrace.columns
      WHERE "database" = 'random' AND "table" = '${table}'`);
    const columnTypes = Object.fromEntries(columns.map(({ column, type }) => [column, type]));
    const rows = await rowsOf(`random.${table}`);
    expect(rows.length).toBe(all.length);
    expect(events.flatMap((event, at) => lost(event, rows[at] ?? {}, columnTypes))).toEqual([]);
  };
  await fc.assert(
    fc.asyncProperty(hardEvents, fc.constantFrom('each', 'together', 'with more'), run),
    { numRuns: 60 },
  );
});

test('what was acknowledged is in the tables or in quarantine, to the unit', async () => {
  const tables = await server.query<{ name: string; rows: number }>(
    `SELECT "database" || '.' || "table" AS name, rows FROM millrace.tables`,
  );
  let rows = 0;
  const namesMax = 200;
  for (let at = 0; at < tables.length; at += namesMax) {
    const some = tables.slice(at, at + namesMax);
    const counts = some.map(({ name }) => `(SELECT count(*) FROM ${name})`);
    const [counted] = await server.query<{ n: number }>(`SELECT ${counts.join(' + ')} AS n`);
    rows += Number(counted?.n);
  }
  const [parked] = await server.query<{ n: number }>(
    'SELECT count(*) AS n FROM millrace.quarantine',
  );
  expect(rows + Number(parked?.n)).toBe(acknowledged);
  expect(tables.reduce((sum, table) => sum + table.rows, 0)).toBe(rows);
  const wanted = values.filter(({ refusal }) => !refusal).map(({ table }) => `hard.${table}`);
  const seen = tables.map(({ name }) => name).filter((name) => name.startsWith('hard.'));
  expect(seen.toSorted()).toEqual(wanted.toSorted());
  expect(answers.size).toBe(values.length);
  expect(values.length).toBeGreaterThan(900);
});

describe('docs/types.md', () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const [intro = '', ...rules] = readFileSync(`${root}docs/types.md`, 'utf8').split(
    /^(?=\*\*T\d)/m,
  );
  const isTest = (file: string, name: string) =>
    file.endsWith('.test.ts') && readFileSync(`${root}test/${file}`, 'utf8').includes(`'${name}'`);

  test('numbers its rules one after another', () => {
    expect(intro).toMatch(/^# Types\n/);
    expect(rules.map((rule) => /^\*\*(T\d+)\. /.exec(rule)?.[1])).toEqual(
      rules.map((_, index) => `T${index + 1}`),
    );
  });

  test('names cases that exist', () => {
    const names = values.map(({ file, name }) => `${file} ${name}`);
    const cases = new Set(names);
    for (const rule of rules) {
      const [, heldBy = ''] = /^Held by: (.+)$/m.exec(rule) ?? [];
      const held = [...heldBy.matchAll(/`([^`]+)`((?:,? "[^"]+")+)/g)].flatMap(
        ([, file = '', quoted = '']) =>
          [...quoted.matchAll(/"([^"]+)"/g)].map(([, name = '']) => ({ file, name })),
      );
      expect(held.length, rule).toBeGreaterThan(0);
      const missing = held.filter(
        ({ file, name }) => !cases.has(`${file} ${name}`) && !isTest(file, name),
      );
      expect(missing).toEqual([]);
    }
  });

  test('shows what its queries answer', async () => {
    await using data = await temporaryDirectory();
    const headers = { 'X-TD-Write-Key': await createKey(data.path, '*') };
    await using shown = await TestServer.start(data.path);
    for (const [, event = ''] of intro.matchAll(/^ {4}(\{.+\})$/gm)) {
      await shown.post('shop/orders', event, headers);
      await shown.flush();
    }
    const block = /^ {4}\$ millrace query (["'])(.+)\1\n((?: {4}(?!\$).*\n|\n(?= {4}))+)/gm;
    const queries = [...intro.matchAll(block)];
    expect(queries.length).toBe(3);
    for (const [, , sql = '', answer = ''] of queries) {
      const { stdout } = await millrace(['query', '--data', data.path, sql]);
      const timeless = stdout.replace(/; complete to \S+Z\)/, ')');
      expect(timeless.trim()).toBe(answer.replace(/^ {4}/gm, '').trim());
    }
  });

  test('leaves no file of cases out', () => {
    const files = new Set(values.map(({ file }) => file));
    expect([...files].filter((file) => !rules.some((rule) => rule.includes(file)))).toEqual([]);
    expect(new Set(values.map(({ file, name }) => `${file} ${name}`)).size).toBe(values.length);
  });
});
