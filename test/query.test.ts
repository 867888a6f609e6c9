import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from './support/eventually.ts';
import { createKey, query, temporaryDirectory, TestServer } from './support/server.ts';

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

  const ask = async (sql: string, signal?: AbortSignal) => {
    const response = await fetch(`${server.admin}/query`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ sql }),
      ...(signal ? { signal } : {}),
    });
    return { status: response.status, text: await response.text() };
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

  test.each([
    'INSERT INTO shop.orders SELECT 1',
    'UPDATE mr.cursors SET next = 0',
    'DELETE FROM millrace.quarantine',
    'DROP VIEW shop.orders',
    'CREATE TABLE x (a INTEGER)',
    'CREATE TEMP TABLE x AS SELECT 1',
    "COPY shop.orders TO '@DATA@/store/x.csv'",
    "COPY (SELECT 1) TO '@DATA@/store/staging/x.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '@DATA@/store/millrace-1.duckdb'",
    'EXPLAIN SELECT 1',
    "ATTACH '@DATA@/x.duckdb'",
    "ATTACH ':memory:' AS m",
    'INSTALL httpfs',
    'LOAD httpfs',
    'SET enable_external_access = true',
    'RESET lock_configuration',
    'PRAGMA enable_profiling',
    'CALL force_checkpoint()',
    'CHECKPOINT',
    'BEGIN',
    'SELECT 1; SELECT 2',
    '',
    ';',
    '-- nothing',
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_csv('@DATA@/keys.json')",
    "SELECT * FROM read_blob('@DATA@/store/millrace-1.duckdb')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM glob('@DATA@/**')",
    "SELECT * FROM query('DROP VIEW shop.orders')",
    "SELECT * FROM query_table('shop.orders')",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '/tmp/x')",
    'SELECT * FROM checkpoint()',
    'SELECT * FROM force_checkpoint()',
    'SELECT * FROM duckdb_secrets()',
    'SELECT * FROM truncate_duckdb_logs()',
    'SELECT EXISTS (FROM enable_profiling())',
    "SELECT write_log('x')",
    "SELECT json_structure(repeat('[', 1000000) || repeat(']', 1000000))",
    "SELECT getenv('HOME')",
    'SELECT * FROM nowhere.nothing',
  ])('refuses: %s', async (template) => {
    const before = await readFile(join(directory.path, 'store', 'millrace-1.duckdb'));
    const { status, text } = await ask(template.replaceAll('@DATA@', directory.path));
    expect(text).toMatch(/^\{"error":/);
    expect(status).toBe(400);
    expect(await readFile(join(directory.path, 'store', 'millrace-1.duckdb'))).toEqual(before);
    expect(await query(directory.path, 'SELECT a FROM shop.orders')).toEqual([{ a: 1 }]);
  });

  /** Takes all places with slow queries; the two beyond them are refused at once. */
  const takeAllPlaces = async () => {
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
    expect(await leave()).toBeGreaterThanOrEqual(10);
    await eventually('a place is free', async () => (await ask('SELECT 1')).status === 200);
    expect(await query(directory.path, 'SELECT a FROM shop.later')).toEqual([{ a: 2 }]);
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
