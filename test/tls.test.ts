import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { connect, type ClientHttp2Session } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { generate } from 'selfsigned';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from './support/eventually.ts';
import { createKey, millrace, temporaryDirectory, TestServer } from './support/server.ts';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let key: string;
let files: { readonly cert: string; readonly key: string };

async function makeCertificate(name: string): Promise<void> {
  const made = await generate([{ name: 'commonName', value: name }], { keyType: 'ec' });
  await writeFile(files.key, made.private);
  await writeFile(files.cert, made.cert);
}

beforeAll(async () => {
  directory = await temporaryDirectory();
  files = { cert: join(directory.path, 'cert.pem'), key: join(directory.path, 'key.pem') };
  await makeCertificate('first.example');
  key = await createKey(directory.path, '*');
  const tls = ['--tls-port', '0', '--tls-cert', files.cert, '--tls-key', files.key];
  server = await TestServer.start(directory.path, [...tls, '--strict', '--edges', '2']);
});

afterAll(async () => {
  await server.kill();
  await directory.remove();
});

type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
};

type Request = {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
};

function tlsUrl(): string {
  if (!server.tls) throw new Error('the server has no TLS');
  return server.tls;
}

/** One request over HTTP/1.1 and TLS. */
function overHttp1(path: string, { method = 'POST', headers = {}, body }: Request) {
  return new Promise<Answer>((resolve, reject) => {
    const options = { method, headers, rejectUnauthorized: false, agent: false };
    const request = httpsRequest(`${tlsUrl()}${path}`, options, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.once('end', () => {
        const { statusCode: status = 0 } = response;
        resolve({ status, headers: response.headers, body: Buffer.concat(parts).toString() });
      });
    });
    request.once('error', reject);
    request.end(body);
  });
}

/** One request over HTTP/2. */
function over(session: ClientHttp2Session, path: string, request: Request): Promise<Answer> {
  const { method = 'POST', headers = {}, body } = request;
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': method, ':path': path, ...headers });
    let answered: Readonly<Record<string, unknown>> = {};
    const parts: Buffer[] = [];
    stream.once('response', (got) => {
      answered = got;
    });
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.once('error', reject);
    stream.once('end', () => {
      const status = Number(answered[':status']);
      resolve({ status, headers: answered, body: Buffer.concat(parts).toString() });
    });
    stream.end(body);
  });
}

async function overHttp2(path: string, request: Request): Promise<Answer> {
  const session = connect(tlsUrl(), { rejectUnauthorized: false });
  try {
    return await over(session, path, request);
  } finally {
    session.close();
  }
}

/** The name in the certificate that a new connection gets. */
function commonName(): Promise<string> {
  const { hostname: host, port } = new URL(tlsUrl());
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({ host, port: Number(port), rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

const events = '/postback/v3/event/secure/events';

describe.each([
  ['HTTP/1.1', overHttp1],
  ['HTTP/2', overHttp2],
] as const)('%s', (name, send) => {
  const table = name === 'HTTP/2' ? 'http2' : 'http1';

  test('every form works as on the plain port', async () => {
    const headers = { 'x-td-write-key': key };
    const post = await send(`/postback/v3/event/secure/${table}`, { headers, body: '{"a":1}' });
    expect(post).toMatchObject({ status: 200, body: '{}' });
    expect(post.headers).toMatchObject({
      'content-type': 'application/json',
      'content-length': '2',
      'strict-transport-security': 'max-age=31536000',
    });
    const query = new URLSearchParams({ td_format: 'pixel', td_write_key: key, b: '2' });
    const pixel = await send(`/postback/v3/event/secure/${table}?${query.toString()}`, {
      method: 'GET',
    });
    expect(pixel).toMatchObject({ status: 200, headers: { 'content-type': 'image/gif' } });
    const batch = await send(`/secure/${table}`, {
      headers: { authorization: `TD1 ${key}`, origin: 'https://page.example' },
      body: '{"events":[{"a":3}]}',
    });
    expect(batch).toMatchObject({
      status: 200,
      headers: { 'access-control-allow-origin': 'https://page.example' },
    });
    await server.flush();
    const rows = await server.query(
      `SELECT a, b FROM secure.${table} ORDER BY coalesce(a, b::BIGINT)`,
    );
    expect(rows).toEqual([
      { a: 1, b: null },
      { a: null, b: '2' },
      { a: 3, b: null },
    ]);
  });

  test('refusals and sizes are the same', async () => {
    const headers = { 'x-td-write-key': key };
    const statuses = [
      await send(events, { body: '{}' }),
      await send(events, { headers, body: '{' }),
      await send(events, { headers: { 'x-td-write-key': '1/none' }, body: '{}' }),
      await send(events, { headers, body: `{"a":"${'x'.repeat(1_048_056)}"}` }),
      await send(events, { headers, body: `{"a":"${'x'.repeat(1_048_057)}"}` }),
      await send(events, { headers, body: Buffer.alloc(6 * 2 ** 20, ' ') }),
      await send(events, { method: 'HEAD', headers }),
      await send(events, { method: 'OPTIONS', headers: { origin: 'https://page.example' } }),
      await send(events, { method: 'PUT', headers }),
      await send('/nowhere', { headers, body: '{}' }),
    ].map(({ status }) => status);
    expect(statuses).toEqual([400, 400, 401, 200, 413, 413, 200, 204, 405, 404]);
  });
});

test('HTTP/1.1 and HTTP/2, as the client chooses', async () => {
  const { hostname: host, port } = new URL(tlsUrl());
  const chosen = (ALPNProtocols: string[]) =>
    new Promise((resolve, reject) => {
      const options = { host, port: Number(port), rejectUnauthorized: false, ALPNProtocols };
      const socket = tlsConnect(options, () => {
        resolve(socket.alpnProtocol);
        socket.destroy();
      });
      socket.once('error', reject);
    });
  expect(await chosen(['h2', 'http/1.1'])).toBe('h2');
  expect(await chosen(['http/1.1'])).toBe('http/1.1');
});

test('many requests at once on one connection of HTTP/2', async () => {
  const session = connect(tlsUrl(), { rejectUnauthorized: false });
  const headers = { 'x-td-write-key': key };
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, id) =>
      over(session, '/postback/v3/event/secure/streams', { headers, body: `{"id":${id}}` }),
    ),
  );
  session.close();
  expect(answers.every(({ status }) => status === 200)).toBe(true);
  await server.flush();
  const [row] = await server.query('SELECT count(DISTINCT id) AS n FROM secure.streams');
  expect(row).toEqual({ n: 300 });
});

/** A frame of HTTP/2. */
function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header whose name is not in HTTP/2's table; neither part is compressed. */
function header(name: string, value: string): Buffer {
  const part = (text: string) => Buffer.from([text.length, ...Buffer.from(text)]);
  return Buffer.concat([Buffer.from([0]), part(name), part(value)]);
}

test.each([0, 8])('a stream that is reset with code %i stores nothing', async (code) => {
  const { hostname: host, port } = new URL(tlsUrl());
  const options = { host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['h2'] };
  const socket = tlsConnect(options);
  await once(socket, 'secureConnect');
  const head = Buffer.concat([
    // POST and https, by their places in the table.
    Buffer.from([0x83, 0x87]),
    header(':authority', host),
    header(':path', '/postback/v3/event/secure/reset'),
    header('x-td-write-key', key),
  ]);
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(frame(4, 0, 0, Buffer.alloc(0)));
  socket.write(frame(1, 4, 1, head));
  // All of a record, but not the end of the stream.
  socket.write(frame(0, 0, 1, Buffer.from('{"a":1}')));
  socket.write(frame(3, 0, 1, Buffer.from([0, 0, 0, code])));
  // The answer to a ping says that all before it was read.
  socket.write(frame(6, 0, 0, Buffer.from('answered')));
  let received = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    received += text;
  });
  await eventually('the ping', () => Promise.resolve(received.includes('answered')));
  socket.destroy();
  await overHttp2(events, { headers: { 'x-td-write-key': key }, body: '{}' });
  await server.flush();
  const tables = await server.query(`FROM millrace.tables WHERE "table" = 'reset'`);
  expect(tables).toEqual([]);
});

test('a key that is made is good at once in strict mode', async () => {
  const made = await createKey(directory.path, 'secure', ['--name', 'late']);
  const post = () => overHttp1(events, { headers: { 'x-td-write-key': made }, body: '{}' });
  expect((await post()).status).toBe(200);
  await millrace(['keys', 'revoke', '--data', directory.path, 'late']);
  expect((await post()).status).toBe(401);
});

test('what is no TLS is turned away, and the next one served', async () => {
  const plain = await fetch(`${tlsUrl().replace('https', 'http')}${events}`, { method: 'POST' })
    .then(({ status }) => status)
    .catch(() => 'cut');
  expect(plain).toBe('cut');
  const headers = { 'x-td-write-key': key };
  expect((await overHttp2(events, { headers, body: '{}' })).status).toBe(200);
});

test('a certificate that is replaced is served, a broken one is not', async () => {
  expect(await commonName()).toBe('first.example');
  const good = await readFile(files.cert);
  await makeCertificate('second.example');
  const loaded = () => server.stderr().split('the TLS certificate was loaded anew').length - 1;
  await eventually('both edges have it', () => Promise.resolve(loaded() === 2));
  expect(await commonName()).toBe('second.example');
  await writeFile(files.cert, good.subarray(0, 100));
  const complaint = 'the new TLS files cannot be used';
  await eventually('a complaint', () => Promise.resolve(server.stderr().includes(complaint)));
  expect(await commonName()).toBe('second.example');
});

test.each([
  [['--tls-port', '0'], 'TLS needs both'],
  [['--tls-cert', '/nowhere/cert.pem'], 'TLS needs both'],
  [['--tls-cert', '/nowhere/cert.pem', '--tls-key', '/nowhere/key.pem'], '/nowhere/cert.pem'],
])('a start with %j says what is wrong', async (args, text) => {
  await using other = await temporaryDirectory();
  const ports = ['--port', '0', '--admin-port', '0'];
  const { code, stderr } = await millrace(['serve', '--data', other.path, ...ports, ...args]);
  expect(code).toBe(1);
  expect(stderr).toContain(text);
});
