import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';
import { bytesOf, cases, nextOf } from './corpus.ts';

/*
 * The same corpus through a proxy that keeps its connections: whatever the proxy makes of it,
 * others who come by the same connection get their own answers, and nothing is stored but what
 * its sender was told.
 */

const hasNginx = spawnSync('nginx', ['-v']).error === undefined;

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let proxy: ChildProcess;
let url: string;
let key: string;

beforeAll(async () => {
  if (!hasNginx) return;
  directory = await temporaryDirectory();
  key = await createKey(directory.path, '*');
  server = await TestServer.start(directory.path);
  const port = await freePort();
  const config = join(directory.path, 'nginx.conf');
  await writeFile(config, nginxConfig(port, new URL(server.ingest).host));
  proxy = spawn('nginx', ['-e', 'stderr', '-p', directory.path, '-c', config]);
  url = `http://127.0.0.1:${port}`;
  await eventually('nginx is there', async () => (await fetch(`${url}/openapi.json`)).ok);
});

afterAll(async () => {
  if (!hasNginx) return;
  const ended = once(proxy, 'exit');
  proxy.kill();
  await Promise.all([ended, server.kill()]);
  await directory.remove();
});

function nginxConfig(port: number, upstream: string): string {
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `daemon off; master_process off; pid nginx.pid;
events {}
http {
  access_log off;
  ${kinds.map((kind) => `${kind}_temp_path temporary_${kind};`).join('\n  ')}
  upstream edge { server ${upstream}; keepalive 1; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://edge;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
    }
  }
}
`;
}

async function freePort(): Promise<number> {
  const one = createServer().listen(0, '127.0.0.1');
  await once(one, 'listening');
  const { port } = one.address() as { readonly port: number };
  one.close();
  await once(one, 'close');
  return port;
}

/** How often a sender was told that its event is stored. */
async function acknowledged(bytes: Buffer): Promise<number> {
  using connection = await RawConnection.open(url);
  connection.send(bytes);
  connection.send('OPTIONS / HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n');
  let count = 0;
  for (;;) {
    const answer = await connection.response();
    if (answer === undefined) return count;
    if (/^x-millrace-receipt:/im.test(answer.head)) count += 1;
  }
}

test.skipIf(!hasNginx)('behind nginx nobody gets an answer that is not theirs', async () => {
  const told = new Map<string, number>();
  for (const one of cases) {
    const [count, honest] = await Promise.all([
      acknowledged(bytesOf(one, key)),
      fetch(`${url}/postback/v3/event/honest/events?td_write_key=${key}`, {
        method: 'POST',
        body: JSON.stringify({ name: one.name }),
      }),
    ]);
    told.set(one.name, count);
    expect([honest.status, await honest.text()], one.name).toEqual([200, '{}']);
  }
  await server.flush();
  const honest = await server.query<{ name: string }>('SELECT name FROM honest.events');
  expect(honest.map(({ name }) => name).sort()).toEqual(cases.map(({ name }) => name).sort());
  const tables = await server.query<{ table: string; rows: number }>(
    `SELECT "table", rows FROM millrace.tables WHERE "database" = 'smuggling'`,
  );
  const rows = new Map(tables.map((one) => [one.table, one.rows]));
  expect(rows.size).toBeGreaterThan(30);
  for (const { name } of cases) {
    const stored = (rows.get(name) ?? 0) + (rows.get(nextOf(name)) ?? 0);
    expect(stored, name).toBe(told.get(name));
  }
  expect(rows.has('smuggled')).toBe(false);
});
