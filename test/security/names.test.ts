import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawConnection } from '../support/raw-connection.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';

/* A name from outside is a name or nothing: no path, no SQL, no member of an object. */

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

/** What the server says to a path as it is: `fetch` would tidy it up. */
async function statusOf(path: string): Promise<number | undefined> {
  using connection = await RawConnection.open(server.ingest);
  const head = `POST ${path} HTTP/1.1\r\nHost: edge\r\nX-TD-Write-Key: ${key}\r\n`;
  connection.send(Buffer.from(`${head}Content-Length: 7\r\n\r\n{"a":1}`, 'latin1'));
  return (await connection.response())?.status;
}

test.each([
  '..',
  '.',
  '%2e%2e',
  '%2e%2e%2f%2e%2e',
  '..%2f..%2fkeys',
  '..%5c..',
  '%252e%252e',
  '%252fabc',
  '%c0%ae%c0%ae',
  '%c0%afabc',
  '%ef%bc%8fabc',
  'abc%00',
  'abc%0d%0aX-A:b',
  'abc%2fdef',
  'abc;a=b',
  'abc%3bdef',
  'abc"',
  "abc'",
  '%22abc',
  'abc--',
  'abc%20def',
  '%e2%84%aaabc',
  'abc%C4%B0',
  'abc\xff',
  '%u0041bc',
  'abc%',
  '.staging',
  '.orphans',
  'millrace-1',
  'a'.repeat(256),
  'a'.repeat(40_000),
])('segment %# is no name', async (segment) => {
  const paths = [`${segment}/events`, `names/${segment}`].flatMap((path) => [
    `/postback/v3/event/${path}`,
    `/js/v3/event/${path}?td_format=pixel`,
    `/${path}`,
  ]);
  for (const path of paths) expect([400, 404], path).toContain(await statusOf(path));
});

test('what an engine or a language has for itself is a name like any other', async () => {
  const odd = ['__proto__', 'constructor', 'hasownproperty', 'select', 'orphans', 'con', '___'];
  for (const one of odd) {
    expect(await statusOf(`/postback/v3/event/${one}/${one}`)).toBe(200);
  }
  const headers = { 'X-TD-Write-Key': key };
  const record = '{"__proto__":{"a":1},"constructor":{"prototype":{"b":2}},"hasOwnProperty":3}';
  const phone = `{"__proto__.constructor":[${record}],"__proto__":[{}]}`;
  const sent = [
    await fetch(`${server.ingest}/android/v3/event`, { method: 'POST', headers, body: phone }),
    await server.post('__proto__/constructor', record, headers),
    await server.post('__proto__/constructor?__proto__=1', `[${record}]`, headers),
  ];
  for (const { status } of sent) expect(status).toBe(200);
  const answer = await fetch(`${server.admin}/tables/archive`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });
  expect(await answer.json()).toEqual({ tables: odd.length + 1, rows: odd.length + 3 });
  const columns = `"__proto__"::VARCHAR AS p, "constructor"::VARCHAR AS c, hasownproperty AS h`;
  const row = { p: '{"a":1}', c: '{"prototype":{"b":2}}', h: 3 };
  const rows = await server.query(`SELECT ${columns} FROM "__proto__"."constructor"`);
  expect(rows).toEqual([row, row, row]);
  // Nothing beside what is the lake's own.
  const folders = await readdir(join(directory.path, 'lake'));
  expect(folders.sort()).toEqual(['.orphans', '.staging', ...odd].sort());
});
