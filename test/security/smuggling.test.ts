import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawConnection } from '../support/raw-connection.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';
import { bytesOf, cases, nextOf } from './corpus.ts';

/*
 * What cannot surely be told apart into requests is refused, the connection closes, and nothing
 * behind it is read; what is understood is answered in its order.
 */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let key: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
  key = await createKey(directory.path, '*');
  server = await TestServer.start(directory.path);
});

afterAll(async () => {
  await server.kill();
  await directory.remove();
});

test.each(cases)('$name', { timeout: 10_000 }, async (one) => {
  using connection = await RawConnection.open(server.ingest);
  connection.send(bytesOf(one, key));
  const seen: (number | undefined)[] = [];
  for (const _ of one.answers) seen.push((await connection.response())?.status);
  expect(seen).toEqual(one.answers);
  // Nothing more comes, or the connection goes on where it must.
  if (one.then === 'open') connection.send('OPTIONS / HTTP/1.1\r\nHost: edge\r\n\r\n');
  expect((await connection.response())?.status).toBe(one.then === 'open' ? 204 : undefined);
});

test('what was answered with 200 is stored, and nothing else', async () => {
  const expected = cases.flatMap(({ name, stored }) => {
    return stored.map((whose) => ({ table: whose === 'self' ? name : nextOf(name), rows: 1 }));
  });
  expect(expected.length).toBeGreaterThan(30);
  await server.flush();
  const sql = `SELECT "table", rows FROM millrace.tables WHERE "database" = 'smuggling' ORDER BY 1`;
  const byName = expected.toSorted((a, b) => (a.table < b.table ? -1 : 1));
  expect(await server.query(sql)).toEqual(byName);
});

test('no process has ended', () => {
  expect(server.stderr()).not.toContain('a process ended');
});
