import { connect } from 'node:net';
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
