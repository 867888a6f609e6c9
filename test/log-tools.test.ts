import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { receiptText } from '../src/event/index.ts';
import { Line, receivedAtMs } from './support/line.ts';
import { createKey, millrace, temporaryDirectory, TestServer } from './support/server.ts';

/* `millrace log inspect` and `log tail`: what they say of a log, damaged or not. */

type Segment = {
  readonly from: number;
  readonly to: number;
  readonly damage: readonly { readonly from: number; readonly to: number }[];
} & Readonly<Record<string, unknown>>;

async function inspect(data: string): Promise<readonly Segment[]> {
  const ran = await millrace(['log', 'inspect', '--data', data, '--json']);
  expect(ran).toMatchObject({ code: 0, stderr: '' });
  return JSON.parse(ran.stdout) as Segment[];
}

async function tail(data: string, ...args: readonly string[]) {
  const ran = await millrace(['log', 'tail', '--data', data, '--json', ...args]);
  expect(ran).toMatchObject({ code: 0, stderr: '' });
  const lines = ran.stdout.split('\n').filter((text) => text !== '');
  return lines.map((text) => JSON.parse(text) as Record<string, unknown>);
}

/** Several segments of single events, and one request of three; nothing of it is loaded. */
async function withLog(data: string): Promise<readonly number[]> {
  const line = await Line.open(data, undefined, undefined, { segmentBytes: 400 });
  const offsets: number[] = [];
  for (let n = 0; n < 10; n += 1) offsets.push(await line.append(JSON.stringify({ n })));
  const bodies = ['{"n":10}', '{"n":11}', '{"n":"ä"}'];
  offsets.push(await line.submit([{ bodies }]));
  await line.close();
  return offsets;
}

test('inspect tells what each segment holds, and tail the last events', async () => {
  await using directory = await temporaryDirectory();
  const offsets = await withLog(directory.path);
  const segments = await inspect(directory.path);
  expect(segments.length).toBeGreaterThan(2);
  const sumOf = (name: string) => segments.reduce((sum, one) => sum + Number(one[name]), 0);
  expect([sumOf('records'), sumOf('events'), sumOf('tornBytes')]).toEqual([11, 13, 0]);
  const firstAt = new Date(receivedAtMs).toISOString().replace('.000', '');
  for (const segment of segments) {
    expect(segment).toMatchObject({ headersWhole: 2, damage: [], firstAt, lastAt: firstAt });
  }
  const sealed = segments.map(({ isSealed }) => isSealed);
  expect(sealed).toEqual(segments.map((_, index) => index < segments.length - 1));
  const bodies = (await tail(directory.path, '4')).map(({ body }) => body);
  expect(bodies).toEqual(['{"n":9}', '{"n":10}', '{"n":11}', '{"n":"ä"}']);
  const [first, ...others] = await tail(directory.path, '100');
  expect(others).toHaveLength(12);
  expect(first).toEqual({
    receipt: receiptText(0, offsets[0] ?? -1),
    receivedAt: new Date(receivedAtMs).toISOString(),
    database: 'shop',
    table: 'orders',
    dialect: 'postback',
    bytes: 7,
    body: '{"n":0}',
  });
});

test('damage is named by its receipts; what is whole around it is told as before', async () => {
  await using directory = await temporaryDirectory();
  const data = directory.path;
  const offsets = await withLog(data);
  const before = await inspect(data);
  const folder = join(data, 'log', '0');
  const [second] = (await readdir(folder)).filter((name) => name.endsWith('.seg')).slice(1, 2);
  const path = join(folder, second ?? '');
  const bytes = await readFile(path);
  const base = Number.parseInt(second ?? '', 10);
  const [hit = 0, next = 0] = offsets.filter((offset) => offset > base);
  // It may be the only one there: when a segment gives way to one that is prepared is chance.
  const to = Math.min(next, before[1]?.to ?? 0);
  bytes.writeUInt8(bytes.readUInt8(hit - base + 20) ^ 1, hit - base + 20);
  bytes.writeUInt8(bytes.readUInt8(3) ^ 1, 3);
  await writeFile(path, bytes);

  const after = await inspect(data);
  const expected = { records: Number(before[1]?.records) - 1, headersWhole: 1 };
  expect(after[1]).toMatchObject({ ...expected, damage: [{ from: hit, to }] });
  expect(after.filter((_, index) => index !== 1)).toEqual(before.filter((_, index) => index !== 1));
  const said = await millrace(['log', 'inspect', '--data', data]);
  expect(said.stdout).toContain('sealed, damaged');
  expect(said.stdout).toContain(
    `damage from ${receiptText(0, hit)} to ${receiptText(0, to)} (${to - hit} bytes)`,
  );
  expect(said.stdout).toContain("one of the header's two copies is damaged");
  expect(await readFile(path)).toEqual(bytes);
  expect(await tail(data, '100')).toHaveLength(12);
});

test('a running server is looked at without its lock; a wrong folder is named', async () => {
  await using directory = await temporaryDirectory();
  const data = directory.path;
  const empty = await millrace(['log', 'tail', '--data', data]);
  expect(empty).toMatchObject({ code: 1 });
  expect(empty.stderr).toContain('no server has run there');
  const key = await createKey(data, 'shop');
  await using server = await TestServer.start(data);
  const posted = await server.post('shop/orders', { n: 1 }, { 'X-TD-Write-Key': key });
  expect(await tail(data)).toMatchObject([
    { receipt: posted.headers.get('x-millrace-receipt'), body: '{"n":1}' },
  ]);
  expect(await inspect(data)).toMatchObject([{ records: 1, isSealed: false }]);
  const wrong = await millrace(['log', 'tail', 'many', '--data', data]);
  expect(wrong.stderr).toContain('a count is expected, seen: many');
});
