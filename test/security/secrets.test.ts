import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { RawConnection } from '../support/raw-connection.ts';
import { temporaryDirectory, TestServer } from '../support/server.ts';

/* A write key, also one in an address, is nowhere once its request is answered. */

const mark = 'SeCrEt';
const data = Buffer.from('{"a":1}').toString('base64');
const event = 'POST /postback/v3/event/shop/orders';
const body = 'Content-Length: 7\r\n\r\n{"a":1}';

/** Requests by status, `{key}` where the key is. */
const requests: readonly (readonly [status: number, text: string])[] = [
  [200, `${event}?td_write_key={key} HTTP/1.1\r\n${body}`],
  [200, `${event} HTTP/1.1\r\nX-TD-Write-Key: {key}\r\n${body}`],
  [200, `${event} HTTP/1.1\r\nX_TD_Write_Key: {key}\r\n${body}`],
  [200, `${event} HTTP/1.1\r\nAuthorization: TD1 {key}\r\n${body}`],
  [
    200,
    'GET /postback/v3/event/shop/orders?a=1&td_format=pixel&td_write_key={key} HTTP/1.1\r\n\r\n',
  ],
  [
    200,
    'GET /postback/v3/event/shop/orders?td_write_key={key}&td_write_key={key} HTTP/1.1\r\n\r\n',
  ],
  [200, `GET /js/v3/event/shop/orders?api_key={key}&data=${data}&callback=f HTTP/1.1\r\n\r\n`],
  [200, `POST /js/v3/event/shop/orders?api_key={key}&data=${data} HTTP/1.1\r\n\r\n`],
  [
    200,
    'POST /shop/orders HTTP/1.1\r\nAuthorization: TD1 {key}\r\nContent-Length: 15\r\n\r\n' +
      '{"events":[{}]}',
  ],
  [
    200,
    'POST /android/v3/event HTTP/1.1\r\nX-TD-Write-Key: {key}\r\nContent-Length: 20\r\n\r\n' +
      '{"shop.orders":[{}]}',
  ],
  [200, `POST /debug/postback/v3/event/shop/orders?td_write_key={key} HTTP/1.1\r\n${body}`],
  [400, `${event}?td_write_key={key} HTTP/1.1\r\nContent-Length: 1\r\n\r\n{`],
  [400, `${event}?td_write_key={key}${'k'.repeat(256)} HTTP/1.1\r\n${body}`],
  [400, 'POST /postback/v3/event/x/y?td_write_key={key} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}'],
  [404, `POST /nowhere?td_write_key={key} HTTP/1.1\r\n${body}`],
  [405, `PUT /postback/v3/event/shop/orders?td_write_key={key} HTTP/1.1\r\n${body}`],
  [415, `${event}?td_write_key={key} HTTP/1.1\r\nContent-Encoding: lzma\r\n${body}`],
  [400, `${event}?td_write_key={key} HTTP/1.1\r\nContent-Length: +1\r\n\r\n{`],
  [400, `${event}?td_write_key={key} HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n`],
  [431, `${event}?td_write_key={key} HTTP/1.1\r\nX: ${'x'.repeat(70_000)}\r\n\r\n`],
];

test('in no answer, log, file, metric or command line', async () => {
  await using directory = await temporaryDirectory();
  await using server = await TestServer.start(directory.path, ['--log-level', 'debug']);
  const texts: [string, string][] = [];
  for (const [index, [status, text]] of requests.entries()) {
    using connection = await RawConnection.open(server.ingest);
    connection.send(text.replaceAll('{key}', `1/${mark}${index}`));
    const answer = await connection.response();
    expect(answer?.status, text).toBe(status);
    texts.push([text, `${answer?.head}${answer?.body}`]);
  }
  await server.flush();
  const [parked] = await server.query('SELECT count(*) AS n FROM millrace.quarantine');
  expect(parked).toEqual({ n: 10 });
  for (const path of ['/metrics', '/status']) {
    texts.push([path, await (await fetch(server.admin + path)).text()]);
  }
  for (const view of ['quarantine', 'auth_failures', 'ledger']) {
    texts.push([view, JSON.stringify(await server.query(`FROM millrace.${view}`))]);
  }
  const { pid } = server.process;
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  for (const one of [pid, ...children.trim().split(' ')]) {
    texts.push(['the command line', await readFile(`/proc/${one}/cmdline`, 'utf8')]);
  }
  await server.stop();
  texts.push(['the log', server.stderr() + server.stdout()]);
  for (const entry of await readdir(directory.path, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) texts.push([path, await readFile(path, 'latin1')]);
  }
  expect(texts.length).toBeGreaterThan(30);
  for (const [where, text] of texts) expect(text.includes(mark), where).toBe(false);
});
