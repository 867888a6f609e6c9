import { readdir, readFile, readlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryDirectory, TestServer } from '../support/server.ts';

/* Who may come to the operator's door: who is on this machine, and no page in a browser there. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;

beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start(directory.path, ['--host', '0.0.0.0']);
});

afterAll(async () => {
  await server.kill();
  await directory.remove();
});

const ask = (path: string, headers: Record<string, string>, method = 'POST', body?: string) =>
  fetch(server.admin + path, { method, headers, ...(body === undefined ? {} : { body }) });

describe('a page of another origin is refused', () => {
  test.each([
    ['one that waits for nothing', '/flush', {}, undefined],
    ['a form', '/flush', { 'content-type': 'text/plain' }, 'a=b'],
    ['a query', '/query', { 'content-type': 'text/plain' }, '{"sql":"SELECT 1"}'],
    ['JSON', '/tables/archive', { 'content-type': 'application/json' }, '{}'],
  ])('%s', async (_, path, headers, body) => {
    for (const origin of ['https://page.example', 'null', server.ingest]) {
      const response = await ask(path, { ...headers, origin }, 'POST', body);
      expect(response.status, origin).toBe(403);
      expect(response.headers.get('access-control-allow-origin')).toBeNull();
    }
  });

  test('nor is it told what it might send', async () => {
    const asked = { origin: 'https://page.example', 'access-control-request-method': 'POST' };
    const response = await ask('/query', asked, 'OPTIONS');
    expect(response.status).toBe(403);
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
  });

  test('nothing that is answered can be used as a script or a picture', async () => {
    for (const path of ['/status', '/metrics', '/healthz', '/nowhere']) {
      const { headers } = await ask(path, {}, 'GET');
      expect(headers.get('x-content-type-options'), path).toBe('nosniff');
      expect(headers.get('cross-origin-resource-policy'), path).toBe('same-origin');
    }
  });

  test('a page of this door itself, and what is no page, is answered', async () => {
    expect((await ask('/flush', { origin: server.admin })).status).toBe(200);
    expect((await ask('/flush', {})).status).toBe(200);
  });
});

test('the door is open on loopback alone, also where senders come from everywhere', async () => {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const own = addresses.filter(({ internal, family }) => !internal && family === 'IPv4');
  const isOpen = (host: string, url: string) =>
    new Promise<boolean>((resolve) => {
      const socket = connect({ host, port: Number(new URL(url).port) });
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  expect(await isOpen('127.0.0.1', server.admin)).toBe(true);
  for (const { address } of own) {
    expect(await isOpen(address, server.ingest.replace('0.0.0.0', address)), address).toBe(true);
    expect(await isOpen(address, server.admin), address).toBe(false);
  }
});

test('nothing else is there to connect to', async () => {
  const { pid } = server.process;
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const own = new Set<string>();
  for (const one of [pid, ...children.trim().split(' ')]) {
    for (const file of await readdir(`/proc/${one}/fd`)) {
      const link = await readlink(`/proc/${one}/fd/${file}`).catch(() => '');
      own.add(/^socket:\[(\d+)\]$/.exec(link)?.[1] ?? '');
    }
  }
  const lines = async (name: string) => {
    const text = await readFile(`/proc/${pid}/net/${name}`, 'utf8');
    const rows = text.trim().split('\n').slice(1);
    return rows.map((row) => row.trim().split(/\s+/));
  };
  const tcp = [...(await lines('tcp')), ...(await lines('tcp6'))];
  const listening = tcp.filter((row) => row[3] === '0A' && own.has(row[9] ?? ''));
  const ports = listening.map((row) => parseInt(row[1]?.split(':')[1] ?? '', 16));
  const expected = [server.ingest, server.admin].map((url) => Number(new URL(url).port));
  expect(new Set(ports)).toEqual(new Set(expected));
  const acceptsConnections = '00010000';
  const unix = (await lines('unix')).filter((row) => own.has(row[6] ?? ''));
  expect(unix.length, 'the pipes between the processes').toBeGreaterThan(0);
  expect(unix.filter((row) => row[3] === acceptsConnections)).toEqual([]);
});
