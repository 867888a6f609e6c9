import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fingerprintOf } from '../src/event/index.ts';
import { eventually } from './support/eventually.ts';
import { createKey, millrace, temporaryDirectory, TestServer } from './support/server.ts';

/* The truth about an event, a second after its 200; and its repair: on a real server. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let key: string;
let webhook: Awaited<ReturnType<typeof openWebhook>>;

beforeAll(async () => {
  directory = await temporaryDirectory();
  webhook = await openWebhook();
  key = await createKey(directory.path, 'shop');
  server = await TestServer.start(directory.path, ['--alarm-webhook', webhook.url]);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  webhook.close();
  await directory.remove();
});

async function openWebhook() {
  const taken: Record<string, unknown>[] = [];
  const http = createServer((request, response) => {
    let text = '';
    request.on('data', (piece: Buffer) => (text += piece.toString()));
    request.on('end', () => {
      taken.push(JSON.parse(text) as Record<string, unknown>);
      response.end();
    });
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/alarm`;
  return { url, taken, close: () => http.close() };
}

function run(...args: readonly string[]) {
  return millrace([...args, '--data', directory.path]);
}

async function json<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await run(...args, '--json');
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as T;
}

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  server.post(path, body, { 'X-TD-Write-Key': key, ...headers });

const receiptOf = (response: Response) => response.headers.get('x-millrace-receipt') ?? '';

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${server.admin}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(name));
  return Number(line?.split(' ').at(-1));
}

describe('a wrong key', () => {
  const typo = '1/typo-of-a-partner';
  const hex = fingerprintOf(typo).toString('hex');
  const send = (id: number) => server.post('shop/typos', { id }, { 'X-TD-Write-Key': typo });

  test('is a 200, and seen in status, metrics, log, SQL and by the webhook', async () => {
    for (const id of [1, 2]) expect((await send(id)).status).toBe(200);
    const group = { reason: 'unknown_key', fingerprint: hex, database: 'shop', table: 'typos' };
    const failures = await eventually('status', async () => {
      const status = await (await fetch(`${server.admin}/status`)).json();
      const { authFailures } = status as { authFailures: { events: number }[] };
      return authFailures[0]?.events === 2 && authFailures;
    });
    expect(failures).toEqual([expect.objectContaining(group)]);
    const sql = `SELECT events, addresses, key_id FROM millrace.auth_failures
      WHERE key_fingerprint = '${hex}'`;
    expect(await server.query(sql)).toEqual([{ events: 2, addresses: ['127.0.0.1'], key_id: '*' }]);
    expect(await metric('millrace_unknown_key_events_total')).toBe(2);
    expect(server.stderr().match(/authentication failure: /g)).toHaveLength(1);
    await eventually('an alarm', () => Promise.resolve(webhook.taken.length > 0));
    expect(webhook.taken).toEqual([
      expect.objectContaining({ alarm: 'authentication_failure', fingerprint: hex }),
    ]);
    expect((await run('status')).stdout).toContain(`unknown_key ${hex.slice(0, 12)} to shop.typos`);
  });

  test('its events are shown with their exact bytes', async () => {
    const body = '{ "id" : 3,\t"x":"\\u0041" }';
    const receipt = receiptOf(await server.post('shop/typos', body, { 'X-TD-Write-Key': typo }));
    await server.flush();
    const { stdout } = await run('quarantine', 'show', receipt);
    expect(stdout.endsWith(`\n\n${body}\n`)).toBe(true);
    expect(await json('quarantine', 'show', receipt)).toMatchObject({ body, address: '127.0.0.1' });
    expect((await run('quarantine', 'list', '--key', hex.slice(0, 8))).stdout).toMatch(
      /unknown_key +shop\.typos +\w{12} +3 /,
    );
    expect(await json('receipt', receipt)).toMatchObject({ state: 'quarantined' });
    const report = { events: 3, rows: 0, stay: { unknown_key: 3 } };
    expect(await json('quarantine', 'replay', '--dry-run')).toMatchObject(report);
  });

  test('an operation tells on request how far it is, and its end in the last line', async () => {
    const operate = async (path: string, body: unknown) => {
      const headers = { 'Content-Type': 'application/json', Accept: 'application/x-ndjson' };
      const request = { method: 'POST', headers, body: JSON.stringify(body) };
      const response = await fetch(`${server.admin}/${path}`, request);
      const lines = (await response.text()).trimEnd().split('\n');
      return [response.status, ...lines.map((line) => JSON.parse(line) as unknown)];
    };
    expect(await operate('quarantine/replay', { dryRun: true })).toEqual([
      200,
      { progress: { done: 3, total: 3, unit: 'events' } },
      { result: { events: 3, rows: 0, repeats: 0, stay: { unknown_key: 3 } } },
    ]);
    expect(await operate('quarantine/show', { receipt: '0-000000000000001' })).toEqual([
      200,
      expect.objectContaining({ code: 'NOT_IN_QUARANTINE' }),
    ]);
    expect(await operate('quarantine/show', {})).toEqual([
      400,
      expect.objectContaining({ code: 'BAD_REQUEST' }),
    ]);
  });

  test('is imported, and they are rows; replayed twice, they are rows once', async () => {
    const taken = await millrace(
      ['keys', 'import', '--database', 'shop', '--data', directory.path],
      { input: `${typo}\n` },
    );
    expect(taken).toMatchObject({ code: 0, stderr: '' });
    const rows = 'SELECT id FROM shop.typos ORDER BY id';
    await eventually('rows', async () => (await server.query(rows)).length === 3);
    for (let count = 0; count < 2; count += 1) {
      expect(await json('quarantine', 'replay')).toMatchObject({ events: 0 });
    }
    expect(await server.query(rows)).toEqual([{ id: 1 }, { id: 2 }, { id: 3 }]);
    expect((await run('quarantine', 'list')).stdout).toBe('nothing is in quarantine\n');
    const [used] = await json<{ used?: { events: number } }[]>('keys', 'list').then((keys) =>
      keys.filter(({ used: some }) => some !== undefined),
    );
    expect(used).toMatchObject({ used: { events: 3 } });
  });

  test('drop needs to be told which', async () => {
    await server.post('shop/typos', {}, { 'X-TD-Write-Key': 'another' });
    await server.flush();
    expect(await run('quarantine', 'drop')).toMatchObject({ code: 1, stdout: '' });
    expect((await run('quarantine', 'drop', '--all', '--dry-run')).stdout).toBe(
      'would drop 1 event\n',
    );
    expect((await run('quarantine', 'drop', '--reason', 'unknown_key')).stdout).toBe(
      'dropped 1 event\n',
    );
  });
});

describe('receipts', () => {
  test('each answer has one, which is the row’s', async () => {
    const receipt = receiptOf(await post('shop/orders', { id: 1, td_ip: 'td_ip' }));
    await server.flush();
    expect(await server.query(`SELECT id FROM shop.orders WHERE _receipt = '${receipt}'`)).toEqual([
      { id: 1 },
    ]);
    const answer = await fetch(`${server.admin}/receipts/${receipt}`);
    expect(await answer.json()).toEqual({
      receipt,
      state: 'queryable',
      events: [{ receipt, database: 'shop', table: 'orders' }],
    });
  });

  test('that of a request of many events is all of theirs', async () => {
    const lines = '{"id":10}\n{"id":11}\n{"id":12}\n';
    const headers = { 'Content-Type': 'application/x-ndjson' };
    const receipt = receiptOf(await post('shop/orders', lines, headers));
    expect(receipt).toMatch(/^0-\d{15}\+\d+$/);
    await server.flush();
    const { state, events } = await json<{ state: string; events: unknown[] }>('receipt', receipt);
    expect([state, events.length]).toEqual(['queryable', 3]);
  });

  test('one that was never given is unknown, one that is none is refused', async () => {
    expect(await json('receipt', '0-000000000000001')).toMatchObject({ state: 'unknown' });
    for (const bad of ['x', '0-1+0', '99999-1', '0-1 OR 1=1']) {
      const { code, stderr } = await run('receipt', bad);
      expect([code, stderr]).toEqual([1, expect.stringContaining('is no receipt')]);
    }
  });

  test('Prefer: wait holds the answer until the row is queryable', async () => {
    const answer = await post('shop/orders', { id: 20 }, { Prefer: 'wait=20' });
    expect(await answer.text()).toBe('{}');
    expect(answer.headers.get('preference-applied')).toBe('wait');
    expect(answer.headers.get('x-millrace-state')).toBe('queryable');
    expect(await server.query('SELECT id FROM shop.orders WHERE id = 20')).toEqual([{ id: 20 }]);
    const wrong = await post('shop/orders', {}, { Prefer: 'wait=20', 'X-TD-Write-Key': 'wrong' });
    expect(wrong.headers.get('x-millrace-state')).toBe('quarantined; reason=unknown_key');
    expect((await post('shop/orders', {})).headers.get('preference-applied')).toBe(null);
  });
});

describe('freshness', () => {
  test('every answer says how complete it is; --after waits for a receipt', async () => {
    const receipt = receiptOf(await post('shop/orders', { id: 30 }));
    const sql = 'SELECT id FROM shop.orders WHERE id = 30';
    expect(await json('query', '--after', receipt, sql)).toEqual([{ id: 30 }]);
    const response = await fetch(`${server.admin}/query`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sql }),
    });
    const mark = response.headers.get('x-millrace-watermark') ?? '';
    expect(mark > receipt).toBe(true);
    const complete = Date.parse(response.headers.get('x-millrace-complete-to') ?? '');
    expect(complete).toBeGreaterThan(0);
    const bad = await run('query', '--after', 'nonsense', sql);
    expect(bad.stderr).toContain('is no receipt');
  });

  test('a receipt of a shard that nobody writes is not waited for', async () => {
    const response = await fetch(`${server.admin}/query`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sql: 'SELECT 1', after: '7-000000000000001' }),
    });
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ code: 'NOT_YET', retryable: true });
  });
});

describe('columns', () => {
  test('what did not fit is shown, and comes back when the type is changed', async () => {
    for (const price of [1, 2.5, '"three"', true, '{"a":[1]}', '18446744073709551616']) {
      await post('shop/prices', `{"price":${price}}`);
    }
    await server.flush();
    const shown = (await run('columns', 'list', 'shop.prices')).stdout;
    expect(shown).toMatch(/price +DOUBLE +\S+ +3 +3 +\{"a":\[1\]\} +true +"three"/);
    expect(await json('columns', 'set-type', 'shop.prices', 'price', 'varchar')).toMatchObject({
      restored: 2,
      left: 1,
    });
    const sql = 'SELECT price, _rescued_data FROM shop.prices ORDER BY _receipt';
    expect(await server.query(sql)).toEqual([
      { price: '1', _rescued_data: null },
      { price: '2.5', _rescued_data: null },
      { price: 'three', _rescued_data: null },
      { price: 'true', _rescued_data: null },
      { price: null, _rescued_data: '{"price":{"a":[1]}}' },
      { price: '18446744073709551616', _rescued_data: null },
    ]);
    expect((await run('columns', 'set-type', 'shop.prices', 'price', 'MONEY')).stderr).toContain(
      'BIGINT, DOUBLE, BOOLEAN, VARCHAR, JSON',
    );
    expect((await run('columns', 'list', 'shop.nothing')).stderr).toContain('no table');
  });
});

test('tables drop asks first', async () => {
  await post('shop/trial', {});
  await server.flush();
  expect((await run('tables', 'drop', 'shop.trial')).stderr).toContain('--yes');
  expect(await run('tables', 'drop', 'shop.trial', '--yes')).toMatchObject({ code: 0 });
  await expect(server.query('SELECT * FROM shop.trial')).rejects.toThrow();
});

test('who uses a key is told before it is revoked', async () => {
  const [first] = await json<{ id: string }[]>('keys', 'list');
  const id = first?.id ?? '';
  const { stdout } = await run('keys', 'revoke', id, '--dry-run');
  expect(stdout).toMatch(
    new RegExp(`${id} .*would be revoked; used:\n[^]*shop.orders +\\d+ +\\d+`),
  );
  expect(await json('keys', 'list')).toMatchObject([{ id, state: 'in force' }, {}]);
});

test('clocks are shown by key', async () => {
  await post('shop/orders', { td_record_time: 1 });
  await server.flush();
  expect((await run('keys', 'clocks')).stdout).toMatch(/over 7 days behind +1 +█+ +ignored/);
});

test('the books are right after all that', async () => {
  await server.flush();
  expect(await server.query('SELECT * FROM millrace.ledger WHERE remainder <> 0')).toEqual([]);
  expect(await metric('millrace_conservation_remainder')).toBe(0);
  expect((await run('status')).stdout).toContain('ledger      right');
});
