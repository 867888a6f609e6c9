import { readdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { tableFromIPC } from 'apache-arrow';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from './support/eventually.ts';
import { createKey, millrace, query, temporaryDirectory, TestServer } from './support/server.ts';

/* Users' SQL reads their data, and can do nothing else. */

const slow = 'SELECT count(*) FROM range(200000) a, range(200000) b WHERE a.range + b.range = 7';

describe('SQL of users', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let server: TestServer;
  beforeAll(async () => {
    directory = await temporaryDirectory();
    server = await TestServer.start(directory.path);
    const key = await createKey(directory.path, 'shop');
    await server.post('shop/orders', '{"a":1,"o":{"b":[1,2]}}', { 'X-TD-Write-Key': key });
    await server.flush();
  });
  afterAll(async () => {
    await server.stop();
    await directory.remove();
  });

  const request = (body: object, signal?: AbortSignal) =>
    fetch(`${server.admin}/query`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
  const ask = async (sql: string, signal?: AbortSignal) => {
    const response = await request({ sql }, signal);
    return { status: response.status, text: await response.text() };
  };
  const fail = async (body: object) => {
    const response = await request(body);
    const { code, error } = (await response.json()) as { code: string; error: string };
    return { status: response.status, code, error };
  };
  const queries = async <T>(path = '', method = 'GET') => {
    const response = await fetch(`${server.admin}/queries${path}`, { method });
    return (await response.json()) as T;
  };

  test.each([
    'SELECT a FROM shop.orders',
    'FROM shop.orders',
    "WITH o AS (SELECT o->>'$.b[0]' AS b FROM shop.orders) SELECT * FROM o",
    'SELECT * FROM range(3), unnest([1, 2])',
    'DESCRIBE shop.orders',
    'SUMMARIZE shop.orders',
    'SHOW TABLES',
    'VALUES (1), (2)',
    'SELECT * FROM information_schema.tables',
    'SELECT key, value FROM shop.orders, json_each(o)',
  ])('runs: %s', async (sql) => {
    expect(await ask(sql)).toMatchObject({ status: 200 });
  });

  test('parameters are values, by position and by name', async () => {
    const sql = 'SELECT $2 AS b, $1 AS a, typeof($1) AS t';
    const rows = async (body: object) => (await request(body)).json();
    expect(await rows({ sql, parameters: [1, "'; DROP VIEW shop.orders; --"] })).toEqual([
      { b: "'; DROP VIEW shop.orders; --", a: 1, t: 'BIGINT' },
    ]);
    const named = 'SELECT $n + 1 AS n, $s AS s, $t AS t, $x AS x, typeof($n) AS type';
    expect(await rows({ sql: named, parameters: { n: 1.5, s: '', t: true, x: null } })).toEqual([
      { n: 2.5, s: '', t: true, x: null, type: 'DOUBLE' },
    ]);
    const exact = 'SELECT $1::BIGINT - 1 AS n FROM shop.orders WHERE a = $2 LIMIT $2';
    expect(await rows({ sql: exact, parameters: ['9007199254740994', 1] })).toEqual([
      { n: '9007199254740993' },
    ]);
  });

  test.each([
    [[1], 'there is no $1'],
    [{ a: 1 }, 'there is no $a'],
  ])('parameters %j that the SQL does not have are an error', async (parameters, error) => {
    expect(await fail({ sql: 'SELECT 1', parameters })).toMatchObject({
      status: 400,
      error: expect.stringContaining(error),
    });
    expect(await fail({ sql: 'SELECT $b, ?', parameters })).toMatchObject({ status: 400 });
    expect(await fail({ sql: 'SELECT ?', parameters: [[1]] })).toMatchObject({
      code: 'BAD_REQUEST',
    });
  });

  const wide = `SELECT i + 9007199254740993 AS big, i AS n, i / 3 AS d, i % 2 = 0 AS even,
    'ü' || i AS text, CASE WHEN i % 3 > 0 THEN i::INTEGER END AS gaps,
    (i * -1.25)::DECIMAL(12, 2) AS price, [i] AS list, {'a': i} AS pair, sum(i) OVER () AS total,
    TIMESTAMP '2026-01-01 00:00:00.000001' + to_seconds(i) AS at, DATE '2026-01-02' AS day,
    '\\xAA\\x00'::BLOB AS bytes, '[1]'::JSON AS json
    FROM range(5000) t(i) ORDER BY i`;

  test('Arrow has exact types and values', async () => {
    const response = await request({ sql: wide, format: 'arrow' });
    expect(response.headers.get('content-type')).toBe('application/vnd.apache.arrow.stream');
    const table = tableFromIPC(new Uint8Array(await response.arrayBuffer()));
    expect(table.schema.fields.map(({ name, type }) => `${name} ${String(type)}`)).toEqual([
      'big Int64',
      'n Int64',
      'd Float64',
      'even Bool',
      'text Utf8',
      'gaps Int32',
      'price Decimal[12e+2]',
      'list Utf8',
      'pair Utf8',
      'total Decimal[38e0]',
      'at Timestamp<MICROSECOND>',
      'day Date32<DAY>',
      'bytes Binary',
      'json Utf8',
    ]);
    expect(table.numRows).toBe(5000);
    for (const at of [0, 1, 2047, 2048, 4999]) {
      const row = table.get(at)?.toJSON() ?? {};
      expect(row).toMatchObject({
        big: 9007199254740993n + BigInt(at),
        n: BigInt(at),
        d: at / 3,
        even: at % 2 === 0,
        text: `ü${at}`,
        gaps: at % 3 > 0 ? at : null,
        list: `[${at}]`,
        pair: `{"a":${at}}`,
        at: Date.parse('2026-01-01T00:00:00Z') + at * 1000 + 0.001,
        day: Date.parse('2026-01-02T00:00:00Z'),
        bytes: new Uint8Array([0xaa, 0]),
        json: '[1]',
      });
      expect(String(row.price)).toBe(String(at * -125));
      expect(String(row.total)).toBe('12497500');
    }
    const nothing = await request({ sql: 'SELECT 1 AS a WHERE false', format: 'arrow' });
    const empty = tableFromIPC(new Uint8Array(await nothing.arrayBuffer()));
    expect([empty.numRows, empty.schema.fields.length]).toEqual([0, 1]);
  });

  test('Parquet is a file that any tool reads, and nothing of it stays here', async () => {
    const path = join(directory.path, 'answer.parquet');
    const instance = await DuckDBInstance.create(':memory:');
    const connection = await instance.connect();
    const file = async (sql: string, parameters?: unknown) => {
      const response = await request({ sql, format: 'parquet', parameters });
      expect(response.status, sql).toBe(200);
      expect(response.headers.get('content-type')).toBe('application/vnd.apache.parquet');
      await writeFile(path, Buffer.from(await response.arrayBuffer()));
      return (await connection.runAndReadAll(`FROM '${path}'`)).getRows();
    };
    const rows = await file(`${wide} -- all of it`);
    expect(rows.length).toBe(5000);
    expect(rows[4999]?.slice(0, 4)).toEqual([9007199254745992n, 4999n, 4999 / 3, false]);
    expect(await file('FROM shop.orders SELECT a + $1::BIGINT AS b;\n;', ['41'])).toEqual([[42n]]);
    expect((await file('DESCRIBE shop.orders')).length).toBe(5);
    expect((await file('SUMMARIZE shop.orders')).length).toBe(5);
    expect(await file('VALUES (1) -- one')).toEqual([[1]]);
    connection.closeSync();
    await eventually('no file is left', async () => {
      const names = await readdir(join(directory.path, 'store', 'staging'));
      return names.filter((name) => name.endsWith('.parquet')).length === 0;
    });
  });

  test.each([
    [{ sql: slow, timeoutMs: 200 }, 408, 'QUERY_TIMEOUT', '0.2 s'],
    [{ sql: slow, timeoutMs: 200, format: 'parquet' }, 408, 'QUERY_TIMEOUT', '0.2 s'],
    [{ sql: 'FROM range(11)', rowsMax: 10 }, 413, 'QUERY_TOO_LONG', '10 rows'],
    [{ sql: 'FROM range(11)', rowsMax: 10, format: 'arrow' }, 413, 'QUERY_TOO_LONG', '10 rows'],
    [{ sql: 'FROM range(11)', rowsMax: 10, format: 'parquet' }, 413, 'QUERY_TOO_LONG', '10 rows'],
    [{ sql: 'FROM range(99)', bytesMax: 99 }, 413, 'QUERY_TOO_LONG', '99 bytes'],
    [{ sql: 'FROM range(99)', bytesMax: 99, format: 'parquet' }, 413, 'QUERY_TOO_LONG', '99 bytes'],
    [{ sql: 'SELECT list(range) FROM range(2000000000)' }, 507, 'QUERY_MEMORY', 'memory'],
    [{ sql: "SELECT 'x'::INTEGER FROM range(9)" }, 400, 'QUERY_FAILED', "'x'"],
    [{ sql: 'SELECT 1', timeoutMs: 1e12 }, 400, 'BAD_REQUEST', 'timeoutMs'],
    [{ sql: 'SELECT 1', rows: 1 }, 400, 'BAD_REQUEST', 'rows'],
  ])('%j ends with %i %s', async (body, status, code, text) => {
    expect(await fail(body)).toEqual({ status, code, error: expect.stringContaining(text) });
  });

  test('an answer that is cut says so, and its id says why', async () => {
    for (const format of ['json', 'ndjson', 'csv', 'arrow', 'rows']) {
      const response = await request({ sql: 'FROM range(1000000)', format, rowsMax: 100_000 });
      expect(response.status).toBe(200);
      await expect(response.arrayBuffer(), format).rejects.toThrow();
      const id = response.headers.get('x-millrace-query-id');
      expect(await queries(`/${id}`)).toMatchObject({ state: 'failed', code: 'QUERY_TOO_LONG' });
    }
  });

  test('queries are listed while they run, and one can be cancelled', async () => {
    const answers = [fail({ sql: slow }), fail({ sql: slow, format: 'parquet' })];
    type Listed = { readonly id: string; readonly elapsedMs: number };
    const listed = await eventually('both run', async () => {
      const all = await queries<Listed[]>();
      return all.length === 2 && all.every(({ elapsedMs }) => elapsedMs > 100) ? all : undefined;
    });
    expect(listed[0]).toMatchObject({ sql: slow, state: 'running', rows: 0, bytes: 0 });
    for (const { id } of listed) {
      expect(await queries(`/${id}`, 'DELETE')).toMatchObject({ code: 'QUERY_CANCELLED' });
    }
    for (const answer of await Promise.all(answers)) {
      expect(answer).toMatchObject({ status: 409, code: 'QUERY_CANCELLED' });
    }
    await eventually('none runs', async () => (await queries<Listed[]>()).length === 0);
    expect(await queries(`/${listed[0]?.id}`)).toMatchObject({ state: 'failed' });
    expect(await queries('/nosuch', 'DELETE')).toMatchObject({ code: 'NO_SUCH_QUERY' });
    await (await request({ sql: 'SELECT 1' })).text();
  });

  test('a query that ended well says that too', async () => {
    const response = await request({ sql: 'FROM range(7)', format: 'ndjson' });
    await response.text();
    const id = response.headers.get('x-millrace-query-id');
    await eventually('it is done', async () => {
      return (await queries<{ state: string }>(`/${id}`)).state === 'done';
    });
    expect(await queries(`/${id}`)).toMatchObject({ rows: 7, bytes: 7 * '{"range":0}\n'.length });
  });

  /** Takes all places with slow queries; the two beyond them are refused at once. */
  const takeAllPlaces = async () => {
    await eventually('none runs', async () => (await queries<unknown[]>()).length === 0);
    const gone = new AbortController();
    const asked = Array.from({ length: 12 }, () => ask(slow, gone.signal).catch(() => 'left'));
    const refused = await Promise.race(asked);
    expect(refused).toMatchObject({ status: 503 });
    const leave = async () => {
      gone.abort();
      return (await Promise.all(asked)).filter((answer) => answer === 'left').length;
    };
    return { leave };
  };

  test('the command line takes parameters and a time, and says why an answer is cut', async () => {
    const run = (...args: readonly string[]) => millrace([...args, '--data', directory.path]);
    const listed = ['--param', '007', '--param', '7', 'SELECT $1 AS a, $2 AS b, typeof($2) AS t'];
    const named = ['--param', 'x=a=b', '--param', 'y=null', 'SELECT $x AS x, $y AS y'];
    for (const [args, stdout] of [
      [listed, '[\n{"a":"007","b":7,"t":"BIGINT"}\n]\n'],
      [named, '[\n{"x":"a=b","y":null}\n]\n'],
    ] as const) {
      expect(await run('query', '--json', ...args)).toEqual({ code: 0, stdout, stderr: '' });
    }
    const cut = await run(
      'query',
      '--format',
      'csv',
      '--timeout',
      '1s',
      'FROM range(100000000000)',
    );
    expect(cut.code).toBe(1);
    expect(cut.stdout).toMatch(/^range\r\n0\r\n1\r\n/);
    expect(cut.stderr).toContain('took longer than 1 s');
    const file = await run('query', '--format', 'parquet', 'FROM shop.orders');
    expect([file.code, file.stdout.slice(0, 4)]).toEqual([0, 'PAR1']);
  });

  test('the command line lists what runs, and cancels it', async () => {
    const run = (...args: readonly string[]) => millrace([...args, '--data', directory.path]);
    expect((await run('queries', 'list')).stdout).toBe('no query is running\n');
    const answer = fail({ sql: slow });
    const id = await eventually('it is listed', async () => {
      const { stdout } = await run('queries', 'list');
      return /^(\w{12}) +[\d.]+ s +0 {2}0 B +SELECT count/m.exec(stdout)?.[1];
    });
    expect((await run('queries', 'cancel', id)).stdout).toBe(`${id} is cancelled\n`);
    expect(await answer).toMatchObject({ code: 'QUERY_CANCELLED' });
    expect((await run('queries', 'cancel', 'nosuch')).stderr).toContain('no query nosuch');
  });

  test('a query whose caller has left gives its place to others', async () => {
    for (let round = 0; round < 3; round += 1) {
      const { leave } = await takeAllPlaces();
      expect(await leave()).toBeGreaterThanOrEqual(10);
      await eventually('a place is free', async () => (await ask('SELECT 1')).status === 200);
    }
  });

  test('events are loaded while all places are taken by slow queries', async () => {
    const { leave } = await takeAllPlaces();
    const key = await createKey(directory.path, 'shop');
    await server.post('shop/later', '{"a":2}', { 'X-TD-Write-Key': key });
    await server.flush();
    expect((await millrace(['status', '--data', directory.path])).stdout).toContain('running');
    expect((await fetch(`${server.admin}/readyz`)).status).toBe(200);
    expect(await leave()).toBeGreaterThanOrEqual(10);
    await eventually('a place is free', async () => (await ask('SELECT 1')).status === 200);
    expect(await query(directory.path, 'SELECT a FROM shop.later')).toEqual([{ a: 2 }]);
  });

  test.runIf(process.platform === 'linux')('the store stands back for the edge', async () => {
    const { pid = 0 } = server.process;
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
    const threadsOf = async (child: string) => {
      const ids = await readdir(`/proc/${child}/task`);
      return new Set(ids.map((id) => getPriority(Number(id))));
    };
    const priorities = await Promise.all(children.trim().split(' ').map(threadsOf));
    const own = getPriority();
    expect(priorities).toContainEqual(new Set([own]));
    expect(priorities).toContainEqual(new Set([19]));
  });

  test('a caller that never reads does not hold up the others', async () => {
    const { hostname, port } = new URL(server.admin);
    const body = JSON.stringify({ sql: "SELECT repeat('x', 1000) FROM range(1000000)" });
    const socket = connect(Number(port), hostname);
    socket.write(
      `POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    socket.pause();
    expect(await ask('SELECT 1')).toMatchObject({ status: 200 });
    socket.destroy();
  });

  test('the door answers to loopback names only', async () => {
    const { hostname, port } = new URL(server.admin);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), hostname);
      socket.once('data', (data) => {
        resolve(data.toString());
        socket.destroy();
      });
      socket.once('error', reject);
      socket.write('GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n');
    });
    expect(answer).toMatch(/^HTTP\/1\.1 421 /);
  });
});
