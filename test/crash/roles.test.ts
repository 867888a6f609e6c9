import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { Random } from '../support/random.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { requestBytes } from '../support/requests.ts';
import { audit, Ledger, promiseKept, Senders } from '../support/senders.ts';
import { createKey, millrace, temporaryDirectory, TestServer } from '../support/server.ts';

/*
 * Edges and their store as two servers on one data directory. They come and go in any order, by a
 * drain or by a kill.
 */

const edge = ['--role', 'edge'];
const store = ['--role', 'store'];
const tables = ['shop/orders', 'shop/visits'];
/** Each side as a whole, then each supervisor alone. */
const rounds = 4;
const timeoutMs = 120_000;

/** Events of a few senders for a while, or until something is done. */
async function send(
  ingest: string,
  key: string,
  ledger: Ledger,
  meanwhile: () => Promise<unknown> = () => sleep(200),
): Promise<void> {
  const load = { ingest, key, tables, ledger, connections: 8, padBytes: () => 100 };
  await using senders = new Senders(load);
  await senders.firstAcknowledged;
  await meanwhile();
}

async function isReady({ admin }: TestServer): Promise<boolean> {
  return (await fetch(`${admin}/readyz`)).status === 200;
}

test('the edges first: what they took is loaded by a store that comes later', async () => {
  await using directory = await temporaryDirectory();
  const data = directory.path;
  const key = await createKey(data, 'shop');
  const ledger = new Ledger();
  for (const end of ['drained', 'killed'] as const) {
    await using edges = await TestServer.start(data, [...edge, '--edges', '2']);
    await send(edges.ingest, key, ledger);
    if (end === 'killed') await edges.kill();
    else expect(await edges.stop()).toBe(0);
    // Nobody says how far the shards are.
    await using alone = await TestServer.start(data, store);
    await alone.flush();
    expect(await audit(data, tables, ledger), end).toEqual(promiseKept);
    expect(await isReady(alone), 'nobody takes events').toBe(false);
    expect(await alone.stop()).toBe(0);
  }
});

test('the store first: it goes with edges that come, are more, fewer and gone', async () => {
  await using directory = await temporaryDirectory();
  const data = directory.path;
  const key = await createKey(data, 'shop');
  const ledger = new Ledger();
  await using alone = await TestServer.start(data, store);
  await alone.flush();
  for (const count of [1, 3, 2]) {
    await using edges = await TestServer.start(data, [...edge, '--edges', String(count)]);
    await eventually(`${count} edges are known`, async () => {
      const metrics = await (await fetch(`${alone.admin}/metrics`)).text();
      return (await isReady(alone)) && metrics.includes(`process="edge-${count - 1}"`);
    });
    await send(edges.ingest, key, ledger);
    await alone.flush();
    expect(await audit(data, tables, ledger), `${count} edges`).toEqual(promiseKept);
    expect(await edges.stop()).toBe(0);
    await eventually('it knows that they are gone', async () => !(await isReady(alone)));
  }
  expect(await alone.stop()).toBe(0);
  // All in one again.
  await using all = await TestServer.start(data);
  await all.flush();
  expect(await audit(data, tables, ledger)).toEqual(promiseKept);
});

test('an edge asks the store of the other server, and does without it', async () => {
  await using directory = await temporaryDirectory();
  const data = directory.path;
  const key = { 'X-TD-Write-Key': await createKey(data, 'shop') };
  await using edges = await TestServer.start(data, edge);
  const post = (wait = 10) =>
    edges.post('shop/orders', { id: 1 }, { ...key, Prefer: `wait=${wait}` });
  const dryRun = () =>
    fetch(`${edges.ingest}/debug/postback/v3/event/shop/orders`, {
      method: 'POST',
      headers: key,
      body: '{"id":1}',
    });
  expect((await dryRun()).status).toBe(503);
  const waiting = post();
  await using alone = await TestServer.start(data, store);
  expect((await waiting).status).toBe(200);
  await eventually('they have found each other', () => isReady(alone));
  const answer = await post();
  expect(answer.headers.get('Preference-Applied')).toBe('wait');
  expect(await (await dryRun()).json()).toMatchObject({ events: [{ becomes: 'row' }] });
  const metrics = await (await fetch(`${alone.admin}/metrics`)).text();
  expect(metrics).toContain('process="edge-0"');
  await alone.kill();
  expect((await post(1)).status).toBe(200);
});

test(
  'each side killed again and again amid load: nothing is lost, nothing is twice',
  async () => {
    const random = new Random();
    const because = `seed ${random.seed}`;
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const key = await createKey(data, 'shop');
    const ledger = new Ledger();
    const someEdges = () => [...edge, '--edges', String(random.integer(1, 2))];
    await using last = new AsyncDisposableStack();
    const start = async (args: readonly string[]) => last.use(await TestServer.start(data, args));
    let [edges, alone] = await Promise.all([start(someEdges()), start(store)]);
    for (let round = 0; round < rounds; round += 1) {
      await send(edges.ingest, key, ledger, async () => {
        await sleep(random.integer(50, 400));
        // Its processes too, or it alone: then they drain by themselves.
        const isWhole = round % 4 < 2;
        const killed = round % 2 === 0 ? edges : alone;
        if (isWhole) await killed.kill();
        else process.kill(killed.process.pid ?? 0, 'SIGKILL');
        if (killed === alone) alone = await start(store);
      });
      if (round % 2 === 0) edges = await start(someEdges());
    }
    await send(edges.ingest, key, ledger);
    await alone.flush();
    expect(await audit(data, tables, ledger), because).toEqual(promiseKept);
    expect(ledger.acknowledged.size, because).toBeGreaterThan(rounds * 8);
    await eventually('the books are right', async () => {
      const { stdout } = await millrace(['status', '--data', data, '--json']);
      return (JSON.parse(stdout) as { ledger: { events: number } }).ledger.events === 0;
    });
    expect(await edges.stop(), because).toBe(0);
    expect(await alone.stop(), because).toBe(0);
    expect(await audit(data, tables, ledger), because).toEqual(promiseKept);
  },
  timeoutMs,
);

test('one of each role on a data directory', async () => {
  await using directory = await temporaryDirectory();
  const data = directory.path;
  await using edges = await TestServer.start(data, edge);
  await using alone = await TestServer.start(data, store);
  expect((await stat(join(data, 'edges.sock'))).mode & 0o777).toBe(0o600);
  const ports = ['--port', '0', '--admin-port', '0'];
  for (const [role, holder] of [
    ['edge', 'another server that takes postbacks'],
    ['store', `process id ${alone.process.pid}`],
    ['all', `process id ${alone.process.pid}`],
  ] as const) {
    const ran = await millrace(['serve', '--data', data, '--role', role, ...ports]);
    expect(ran, role).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr, role).toContain(holder);
  }
  const fsck = await millrace(['fsck', '--data', data]);
  expect(fsck.stderr).toContain('stop it first');
  await alone.stop();
  const whole = await millrace(['serve', '--data', data, ...ports]);
  expect(whole.stderr).toContain('another server that takes postbacks');
  expect((await fetch(edges.ingest)).status, 'it is not disturbed').toBe(200);
});

test('flush waits for what an edge took that is there no more', async () => {
  await using directory = await temporaryDirectory();
  const data = directory.path;
  const key = await createKey(data, 'shop');
  // More than is loaded at once.
  const [requests, count] = [9, 10_000];
  const body = `{"text":"${'x'.repeat(400)}"}\n`.repeat(count);
  const headers = ['Content-Type: application/x-ndjson'];
  const lines = requestBytes({ path: '/shop/orders', headers, body }, key);
  await using edges = await TestServer.start(data, [...edge, '--edges', '2']);
  const ofOther = async () => {
    using connection = await RawConnection.open(edges.ingest);
    connection.send(requestBytes({ path: '/shop/visits' }, key));
    // Which edge has it is the system's choice.
    if (!(await connection.response())?.head.includes('X-Millrace-Receipt: 1-')) return false;
    for (let sent = 0; sent < requests; sent += 1) {
      connection.send(lines);
      expect((await connection.response())?.head).toContain('200 OK');
    }
    return true;
  };
  await eventually('the second edge has a connection', ofOther);
  await edges.kill();
  await using fewer = await TestServer.start(data, ['--edges', '1']);
  await fewer.flush();
  const found = await fewer.query('SELECT count(*) AS n FROM shop.orders');
  expect(found).toEqual([{ n: requests * count }]);
});

test('a path that is too long for a socket is an error', async () => {
  await using directory = await temporaryDirectory();
  const data = join(directory.path, 'd'.repeat(120));
  await mkdir(data);
  const ran = await millrace(['serve', '--data', data, ...edge, '--port', '0']);
  expect(ran).toMatchObject({ code: 1, stdout: '' });
  expect(ran.stderr).toContain(`cannot listen on ${data}/edges.sock`);
});
