import { readFile } from 'node:fs/promises';
import * as zlib from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';

/* Little that is sent must not become much memory or work. */

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

test('a body in pieces of one byte takes the memory of its bytes', async () => {
  const before = await memoryBytes();
  const pieces = 1_000_000;
  using connection = await RawConnection.open(server.ingest);
  connection.send(
    'POST /postback/v3/event/bombs/pieces HTTP/1.1\r\nHost: edge\r\n' +
      `X-TD-Write-Key: ${key}\r\nTransfer-Encoding: chunked\r\n\r\n`,
  );
  connection.send('1\r\n \r\n'.repeat(pieces));
  await eventually('all of it is there', async () => (await bodyBytes()) === pieces);
  expect((await memoryBytes()) - before).toBeLessThan(100 * 2 ** 20);
  connection.send('2\r\n{}\r\n0\r\n\r\n');
  expect((await connection.response())?.status).toBe(200);
});

test('a body that breaks off gives its room back', async () => {
  using connection = await RawConnection.open(server.ingest);
  connection.send(
    'POST /postback/v3/event/bombs/broken HTTP/1.1\r\nHost: edge\r\n' +
      `X-TD-Write-Key: ${key}\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{"a":1}no end`,
  );
  expect((await connection.response())?.status).toBe(400);
  await eventually('it is free', async () => (await bodyBytes()) === 0);
});

test('many frames of zstd with nothing in them are a 400', async () => {
  const frame = zlib.zstdCompressSync(Buffer.alloc(0));
  const record = zlib.zstdCompressSync(Buffer.from('{}'));
  const sent = async (frames: number) => {
    const body = Buffer.concat([...Array.from({ length: frames }, () => frame), record]);
    const headers = { 'X-TD-Write-Key': key, 'Content-Encoding': 'zstd' };
    const url = `${server.ingest}/postback/v3/event/bombs/frames`;
    return (await fetch(url, { method: 'POST', headers, body })).status;
  };
  expect(await sent(99)).toBe(200);
  expect(await sent(100)).toBe(400);
  // Together they would keep all threads of the edge for a minute.
  expect(await Promise.all([1, 2, 3, 4].map(() => sent(110_000)))).toEqual([400, 400, 400, 400]);
});

async function bodyBytes(): Promise<number> {
  const metrics = await (await fetch(`${server.admin}/metrics`)).text();
  return Number(/^millrace_edge_body_bytes\{.*\} (\d+)$/m.exec(metrics)?.[1]);
}

/** Memory of the processes of the server. */
async function memoryBytes(): Promise<number> {
  const { pid } = server.process;
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const all = children.trim().split(' ');
  const texts = await Promise.all(all.map((child) => readFile(`/proc/${child}/status`, 'utf8')));
  const kib = texts.map((text) => Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1]));
  return kib.reduce((sum, one) => sum + one * 1024, 0);
}
