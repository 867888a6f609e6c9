import { setTimeout as sleep } from 'node:timers/promises';
import * as zlib from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RawConnection, type RawResponse } from './support/raw-connection.ts';
import { recordOf, type Request, requestBytes } from './support/requests.ts';
import { createKey, query, temporaryDirectory, TestServer } from './support/server.ts';

const bodyBytesMax = 1_048_064;

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let key: string;
/** Every 200 of this file is counted: the last test looks for exactly these. */
let accepted = 0;

beforeAll(async () => {
  directory = await temporaryDirectory();
  key = await createKey(directory.path, '*');
  server = await TestServer.start(directory.path);
});

afterAll(async () => {
  await server.kill();
  await directory.remove();
});

const bytesOf = (request: Request) => requestBytes(request, key);

/** Sends one request on a connection of its own. */
async function exchange(request: Request): Promise<RawResponse> {
  using connection = await RawConnection.open(server.ingest);
  connection.send(bytesOf(request));
  return await answerOn(connection, request.method === 'HEAD');
}

async function answerOn(connection: RawConnection, isHead = false): Promise<RawResponse> {
  const response = await connection.response(!isHead);
  if (!response) throw new Error('the connection was closed without an answer');
  if (response.status === 200 && !isHead) accepted += 1;
  return response;
}

function expectRefusal(response: RawResponse | undefined, status: number): void {
  expect(response?.status).toBe(status);
  expect(response?.head).toMatch(/^Content-Type: application\/json$/im);
  expect(JSON.parse(response?.body ?? '')).toEqual({ error: expect.stringMatching(/./) });
}

describe('the answer of success', () => {
  test('is the documented one, byte for byte, and our receipt behind it', async () => {
    const { head, body } = await exchange({ body: '{"param1":"value1","param2":1234}' });
    const date = '[A-Z][a-z]{2}, \\d{2} [A-Z][a-z]{2} \\d{4} \\d{2}:\\d{2}:\\d{2} GMT';
    const lines = [
      'HTTP/1\\.1 200 OK',
      'Content-Type: application/json',
      `Date: ${date}`,
      'Strict-Transport-Security: max-age=31536000',
      'Content-Length: 2',
      'Connection: keep-alive',
      'X-Millrace-Receipt: 0-\\d{15}',
    ];
    expect(head).toMatch(new RegExp(`^${lines.join('\r\n')}$`));
    expect(body).toBe('{}');
  });

  test('comes in the order of pipelined requests, refusals among them', async () => {
    using connection = await RawConnection.open(server.ingest);
    const requests: readonly Request[] = [
      { body: recordOf(500_000) },
      { body: '7' },
      {},
      { path: '//elsewhere' },
      {},
    ];
    connection.send(Buffer.concat(requests.map(bytesOf)));
    const statuses: number[] = [];
    for (const _ of requests) statuses.push((await answerOn(connection)).status);
    expect(statuses).toEqual([200, 400, 200, 404, 200]);
  });

  test('follows 100 Continue when the sender asks first', async () => {
    using connection = await RawConnection.open(server.ingest);
    connection.send(bytesOf({ headers: ['Expect: 100-continue'] }));
    expect((await connection.response())?.status).toBe(100);
    expect((await answerOn(connection)).status).toBe(200);
  });
});

test('a sender that closes its side gets its answer, or stores nothing', async () => {
  using whole = await RawConnection.open(server.ingest);
  whole.finish(bytesOf({ path: '/edge/half' }));
  expect((await answerOn(whole)).status).toBe(200);
  await whole.closed();
  using part = await RawConnection.open(server.ingest);
  part.finish(bytesOf({ path: '/edge/half_part', body: '{"a":1}  ' }).subarray(0, -1));
  await part.closed();
  await server.flush();
  const tables = await server.query(
    `SELECT "table" FROM millrace.tables WHERE "table" LIKE 'half%'`,
  );
  expect(tables).toEqual([{ table: 'half' }]);
});

test('100 Continue stands before its answer in a row of pipelined requests', async () => {
  using connection = await RawConnection.open(server.ingest);
  const pixel = {
    method: 'GET',
    path: '/edge/pixels?td_format=pixel',
    headers: ['Expect: 100-continue'],
    body: 'any',
  };
  connection.send(Buffer.concat([bytesOf({}), bytesOf(pixel), bytesOf({})]));
  const statuses = [await answerOn(connection), await connection.response()];
  statuses.push(await answerOn(connection), await answerOn(connection));
  expect(statuses.map((response) => response?.status)).toEqual([200, 100, 200, 200]);
  expect(statuses[2]?.body).toMatch(/^GIF89a.{36}$/s);
});

test('other expectations than 100-continue are passed over', async () => {
  expect((await exchange({ headers: ['Expect: 200-ok'] })).status).toBe(200);
});

describe('the write key', () => {
  test('is taken from the query, raw or encoded; the header wins; any key gets a 200', async () => {
    const encoded = key.replace('/', '%2F');
    const cases = [
      { id: 'raw', search: `?td_write_key=${key}`, keyHeader: undefined },
      { id: 'encoded', search: `?td_write_key=${encoded}`, keyHeader: undefined },
      { id: 'among others', search: `?a=b&td_write_key=${encoded}&c`, keyHeader: undefined },
      { id: 'header', search: '?td_write_key=1/0000', keyHeader: key },
      { id: 'bad header', search: `?td_write_key=${key}`, keyHeader: '1/0000' },
      { id: 'bad query', search: '?td_write_key=no+key', keyHeader: undefined },
    ];
    for (const { id, search, keyHeader } of cases) {
      const path = `/edge/keyed${search}`;
      const response = await exchange({ path, keyHeader, body: JSON.stringify({ id }) });
      expect(response.status, id).toBe(200);
    }
    await server.flush();
    const rows = await query(directory.path, 'SELECT id FROM edge.keyed ORDER BY id');
    expect(rows).toEqual(['among others', 'encoded', 'header', 'raw'].map((id) => ({ id })));
    const quarantined = await query(
      directory.path,
      `SELECT body, reason FROM millrace.quarantine WHERE "table" = 'keyed' ORDER BY body`,
    );
    expect(quarantined).toEqual([
      { body: '{"id":"bad header"}', reason: 'unknown_key' },
      { body: '{"id":"bad query"}', reason: 'unknown_key' },
    ]);
  });
});

describe('what is no event', () => {
  const name256 = 'a'.repeat(256);
  test.each<[string, Request]>([
    ['no key', { keyHeader: undefined }],
    ['an empty key', { path: '/edge/events?td_write_key=', keyHeader: '' }],
    ['a key too long', { keyHeader: 'k'.repeat(257) }],
    ['no body', { body: '' }],
    ['malformed JSON', { body: '{"a":1' }],
    ['two records', { body: '{"a":1}\n{"a":2}' }],
    ['not quite JSON', { body: "{'a':1}" }],
    ['a byte-order mark', { body: '\ufeff{"a":1}' }],
    ['an array of nothing', { body: '[]' }],
    ['an array in an array', { body: '[{"a":1},[]]' }],
    ['a text', { body: '"a"' }],
    ['a number', { body: '1' }],
    ['null', { body: 'null' }],
    ['invalid UTF-8', { body: Buffer.from('7b2261223a22ff227d', 'hex') }],
    ['UTF-16', { body: Buffer.from('{"a":1}', 'utf16le') }],
    ['a short database', { path: '/ab/events' }],
    ['a short table', { path: '/edge/ab' }],
    ['a long table', { path: `/edge/${name256}` }],
    ['a bad character', { path: '/edge/my-events' }],
    ['an encoded slash', { path: '/edge/my%2Fevents' }],
    ['an encoding that breaks off', { path: '/edge/events%2' }],
    ['a quote', { path: '/edge/ev"ents' }],
    ['the reserved name millrace', { path: '/millrace/quarantine' }],
    ['the reserved name main', { path: '/main/events' }],
    ['the reserved name Information_Schema', { path: '/Information_Schema/tables' }],
    ['a body that is not what it says', { ...encodedAs('gzip'), body: '{"a":1}' }],
  ])('%s is a 400 with the reason as JSON', async (_, request) => {
    expectRefusal(await exchange(request), 400);
  });

  test('an unknown encoding is a 415', async () => {
    expectRefusal(await exchange({ ...encodedAs('lzma'), body: '{"a":1}' }), 415);
    expectRefusal(await exchange({ ...encodedAs('gzip, br'), body: '{"a":1}' }), 415);
  });

  test.each(['//healthz', '//a/b/c', '//edge/events/more'])(
    'an unknown path is a 404: %s',
    async (path) => expectRefusal(await exchange({ path }), 404),
  );

  test.each(['/', '/edge', '/edge/events/more', '//postback/v2/event/edge/events', '//js/v3'])(
    'a path of the collector that is none of its own is a 400: %s',
    async (path) => {
      const response = await exchange({ path });
      expectRefusal(response, 400);
      expect(response.body).toMatch(/^\{"error":"missing parameter: /);
    },
  );

  test.each(['PUT', 'PATCH', 'DELETE', 'TRACE'])('another method is a 405: %s', async (method) => {
    const response = await exchange({ method });
    expectRefusal(response, 405);
    expect(response.head).toMatch(/^Allow: POST, GET, HEAD, OPTIONS$/m);
  });

  test('HEAD and OPTIONS store nothing', async () => {
    const path = '/edge/asked';
    expect((await exchange({ method: 'HEAD', path, body: '' })).status).toBe(200);
    const asked = await exchange({ method: 'OPTIONS', path, body: '' });
    expect(asked.status).toBe(204);
    expect(asked.head).not.toMatch(/^Content-/m);
    await server.flush();
    const tables = await query(directory.path, `FROM millrace.tables WHERE "table" = 'asked'`);
    expect(tables).toEqual([]);
  });

  test('too many headers, and too long ones, are a 431', async () => {
    const many = Array.from({ length: 120 }, (_, index) => `X-H${index}: 1`);
    expectRefusal(await exchange({ headers: many }), 431);
    const long = `X-Long: ${'h'.repeat(70_000)}`;
    expectRefusal(await exchange({ headers: [long] }), 431);
  });

  test.each<[string, string]>([
    ['no HTTP at all', 'GARBAGE\r\n\r\n'],
    ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    [
      'two lengths',
      'POST /postback/v3/event/edge/events HTTP/1.1\r\nHost: e\r\nContent-Length: 2\r\n' +
        'Transfer-Encoding: chunked\r\nX-TD-Write-Key: 1/a\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
    ],
  ])('malformed HTTP is a 400: %s', async (_, text) => {
    using connection = await RawConnection.open(server.ingest);
    connection.send(Buffer.from(text, 'latin1'));
    expectRefusal(await connection.response(), 400);
    await connection.closed();
  });
});

/** What a sender does to a body, and the headers that say so. */
const transfers: readonly [string, Request, (bytes: Buffer) => Buffer][] = [
  ['as it is', {}, (bytes) => bytes],
  ['chunked', { headers: ['Transfer-Encoding: chunked'] }, (bytes) => bytes],
  ['gzip', encodedAs('gzip'), (bytes) => zlib.gzipSync(bytes)],
  ['deflate', encodedAs('deflate'), (bytes) => zlib.deflateSync(bytes)],
  ['raw deflate', encodedAs('deflate'), (bytes) => zlib.deflateRawSync(bytes)],
  ['br', encodedAs('br'), (bytes) => zlib.brotliCompressSync(bytes)],
  ['zstd', encodedAs('zstd'), (bytes) => zlib.zstdCompressSync(bytes)],
];

describe.each(transfers)('a body sent %s', (_, request, encode) => {
  test(`may have ${bodyBytesMax} bytes`, async () => {
    const response = await exchange({ ...request, body: encode(recordOf(bodyBytesMax)) });
    expect(response.status).toBe(200);
  });

  test('may not have one byte more', async () => {
    const response = await exchange({ ...request, body: encode(recordOf(bodyBytesMax + 1)) });
    expectRefusal(response, 413);
  });

  test('may not be far longer', async () => {
    const body = encode(recordOf(15 * bodyBytesMax));
    expectRefusal(await exchange({ ...request, body }), 413);
  });
});

const batchBodyBytesMax = 5 * 1024 * 1024;
const ingestRecordBytesMax = 1024 * 1024;

describe('many records', () => {
  /** Lines of exactly so many bytes together. */
  function linesOf(bytes: number): Buffer {
    const line = Buffer.concat([recordOf(999_999), Buffer.from('\n')]);
    const last = recordOf(bytes - 5 * line.length);
    return Buffer.concat([line, line, line, line, line, last]);
  }

  test('many records may have 5 MiB together, and no more', async () => {
    const headers = ['Content-Type: application/x-ndjson'];
    const sent = async (bytes: number) => exchange({ headers, body: linesOf(bytes) });
    const whole = await sent(batchBodyBytesMax);
    expect(whole).toMatchObject({ status: 200, body: '{"accepted":6}' });
    accepted += 5;
    expectRefusal(await sent(batchBodyBytesMax + 1), 413);
  });

  test('one of many may be no longer than one alone', async () => {
    const headers = ['Content-Type: application/x-ndjson'];
    const body = Buffer.concat([Buffer.from('{}\n'), recordOf(bodyBytesMax + 1)]);
    const response = await exchange({ headers, body });
    expectRefusal(response, 413);
    expect(response.body).toContain('line 2 has 1048065 bytes');
  });

  test('10,000 records may come at once, and no more', async () => {
    const body = (count: number) => `[${Array.from({ length: count }, () => '{}').join(',')}]`;
    const most = await exchange({ body: body(10_000) });
    expect(most).toMatchObject({ status: 200, body: '{"accepted":10000}' });
    accepted += 9_999;
    expectRefusal(await exchange({ body: body(10_001) }), 400);
  });

  test('a record of a batch may have 1 MiB, and no more', async () => {
    const body = Buffer.concat([
      Buffer.from('{"events":['),
      recordOf(ingestRecordBytesMax),
      Buffer.from(','),
      recordOf(ingestRecordBytesMax + 1),
      Buffer.from(']}'),
    ]);
    const response = await exchange({ path: '//edge/ingested', body });
    expect(response.status).toBe(200);
    const { receipts } = JSON.parse(response.body) as { receipts: readonly unknown[] };
    expect(receipts).toEqual([
      { success: true, uuid: expect.stringMatching(/./) },
      {
        success: false,
        error: {
          name: 'InvalidPropertyValueError',
          description: 'the event has 1048577 bytes: at most 1048576',
        },
      },
    ]);
  });

  test('no batch may be longer', async () => {
    const body = Buffer.concat([Buffer.from('{"events":['), linesOf(batchBodyBytesMax)]);
    const response = await exchange({ path: '//edge/ingested', body });
    expect(response.status).toBe(413);
    expect(JSON.parse(response.body)).toMatchObject({ error: { name: 'BODY_TOO_LARGE' } });
  });
});

describe('what follows the end of an encoding', () => {
  const lines = ['Content-Type: application/x-ndjson'];
  const [first, second] = [Buffer.from('{"a":1}\n'), Buffer.from('{"a":2}\n{"a":3}\n')];
  const encoded: readonly [string, (bytes: Buffer) => Buffer][] = [
    ['gzip', (bytes) => zlib.gzipSync(bytes)],
    ['zstd', (bytes) => zlib.zstdCompressSync(bytes)],
    ['deflate', (bytes) => zlib.deflateSync(bytes)],
    ['deflate', (bytes) => zlib.deflateRawSync(bytes)],
    ['br', (bytes) => zlib.brotliCompressSync(bytes)],
  ];

  test('frames that follow one another are one body', async () => {
    for (const [name, encode] of encoded.slice(0, 2)) {
      const body = Buffer.concat([encode(first), encode(second)]);
      const headers = [...lines, `Content-Encoding: ${name}`];
      expect((await exchange({ headers, body })).body, name).toBe('{"accepted":3}');
      accepted += 2;
    }
  });

  test('frames together may not have more than one may', async () => {
    const frame = zlib.zstdCompressSync(recordOf(3 * 2 ** 20));
    const body = Buffer.concat([frame, frame]);
    expectRefusal(await exchange({ ...encodedAs('zstd'), body }), 413);
  });

  test('bytes behind the end of an encoding are a 400', async () => {
    for (const [name, encode] of encoded) {
      const body = Buffer.concat([encode(first), second]);
      const headers = [...lines, `Content-Encoding: ${name}`];
      expectRefusal(await exchange({ headers, body }), 400);
    }
  });
});

test('a body of brackets alone is a 400', async () => {
  const body = Buffer.concat([Buffer.alloc(500_000, '['), Buffer.alloc(500_000, ']')]);
  const response = await exchange({ body });
  expectRefusal(response, 400);
  expect(response.body).toContain('nested deeper than 10000');
  const text = JSON.stringify('"[\\'.repeat(50_000));
  expect((await exchange({ body: `{"a":${text}}` })).status).toBe(200);
});

test('a zip bomb is a 413', async () => {
  const gibibyte = zlib.createGzip();
  const parts: Buffer[] = [];
  gibibyte.on('data', (part: Buffer) => parts.push(part));
  const mebibyte = Buffer.alloc(2 ** 20, ' ');
  for (let count = 0; count < 1024; count += 1) {
    if (!gibibyte.write(mebibyte)) await new Promise((resolve) => gibibyte.once('drain', resolve));
  }
  await new Promise((resolve) => gibibyte.once('end', resolve).end());
  const body = Buffer.concat(parts);
  expect(body.length, 'it is refused for what it becomes').toBeLessThan(2 * bodyBytesMax);
  expectRefusal(await exchange({ ...encodedAs('gzip'), body }), 413);
});

test('a sender that is slow with its headers is cut off', async () => {
  using connection = await RawConnection.open(server.ingest);
  connection.send('POST /postback/v3/event/edge/events HTTP/1.1\r\nHost: edge\r\nX-Slow: ');
  expectRefusal(await connection.response(), 408);
  await connection.closed();
}, 30_000);

test('a sender that goes away in the middle of a body stores nothing', async () => {
  for (const headers of [[], ['Transfer-Encoding: chunked']]) {
    using connection = await RawConnection.open(server.ingest);
    // What arrives would be an event if it were all.
    const body = `{"a":1}${' '.repeat(400_000)}`;
    const bytes = bytesOf({ path: '/edge/aborted', headers, body });
    connection.send(bytes.subarray(0, 300_000));
    await sleep(200);
    connection.cut();
  }
  // A later event is loaded after all that was stored before.
  expect((await exchange({})).status).toBe(200);
  await server.flush();
  const tables = await query(directory.path, `FROM millrace.tables WHERE "table" = 'aborted'`);
  expect(tables).toEqual([]);
});

test('names are lowered', async () => {
  expect((await exchange({ path: '/Edge/LOWERED/', body: '{"a":1}' })).status).toBe(200);
  await server.flush();
  expect(await query(directory.path, 'SELECT a FROM edge.lowered')).toEqual([{ a: 1 }]);
});

test('td_record_time is the time of the row from 7 days back to 3 days ahead', async () => {
  const day = 86_400;
  const now = Math.floor(Date.now() / 1000);
  // A minute is left for the test itself.
  const [oldest, newest] = [now - 7 * day + 60, now + 3 * day - 60];
  const cases: readonly { given: unknown; time: number }[] = [
    { given: now - 1_000, time: now - 1_000 },
    { given: String(now - 2_000), time: now - 2_000 },
    { given: now - 3_000 + 0.75, time: now - 3_000 },
    { given: `${now - 4_000}.75`, time: now - 4_000 },
    { given: oldest, time: oldest },
    { given: newest, time: newest },
    { given: oldest - 120, time: now },
    { given: String(oldest - 120), time: now },
    { given: newest + 120, time: now },
    { given: now * 1_000, time: now },
    { given: 0, time: now },
    { given: -now, time: now },
    { given: 'soon', time: now },
    { given: '', time: now },
    { given: null, time: now },
    { given: true, time: now },
    { given: [now - 1_000], time: now },
    { given: undefined, time: now },
  ];
  for (const [id, { given }] of cases.entries()) {
    const body = JSON.stringify({ id, td_record_time: given });
    expect((await exchange({ path: '/edge/timed', body })).status).toBe(200);
  }
  await server.flush();
  const rows = await query<{ id: number; time: number }>(
    directory.path,
    'SELECT id, time FROM edge.timed ORDER BY id',
  );
  expect(rows).toHaveLength(cases.length);
  for (const { id, time } of rows) {
    const { given, time: expected = NaN } = cases[id] ?? {};
    const isReceipt = expected === now;
    expect(time, JSON.stringify(given)).toBeGreaterThanOrEqual(expected);
    expect(time, JSON.stringify(given)).toBeLessThanOrEqual(expected + (isReceipt ? 30 : 0));
  }
});

test('after all of this, what was answered with 200 is stored, and nothing else', async () => {
  await server.flush();
  const [stored] = await query<{ n: number }>(
    directory.path,
    `SELECT (SELECT sum(rows) FROM millrace.tables)::INTEGER
       + (SELECT count(*) FROM millrace.quarantine)::INTEGER AS n`,
  );
  expect(accepted).toBeGreaterThan(30);
  expect(stored?.n).toBe(accepted);
});

function encodedAs(encoding: string): Request {
  return { headers: [`Content-Encoding: ${encoding}`] };
}
