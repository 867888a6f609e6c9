import { once } from 'node:events';
import { duplexPair, type Duplex } from 'node:stream';
import * as zlib from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { serverProcesses } from '../bench/processes.ts';
import { limits, nodeDisk } from '../src/base/index.ts';
import { eventually } from './support/eventually.ts';
import { HeldDisk, HeldEdge } from './support/held-edge.ts';
import { RawConnection, type RawResponse } from './support/raw-connection.ts';
import { recordOf, requestBytes } from './support/requests.ts';
import { createKey, temporaryDirectory, TestServer } from './support/server.ts';

/* More than the server can take: it keeps to its memory, says so early, and goes on by itself. */

const mib = 2 ** 20;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let key: string;
let acknowledged = 0;

beforeAll(async () => {
  directory = await temporaryDirectory();
  key = await createKey(directory.path, '*');
  server = await TestServer.start(directory.path);
});

afterAll(async () => {
  await server.kill();
  await directory.remove();
});

test('large bodies leave room for small ones; beyond theirs: 503', async () => {
  const body = recordOf(limits.bodyBytesMax);
  const bytes = requestBytes({ path: '/flood/large', body }, key);
  const fitting = Math.floor(limits.largeBodyBytesInFlightMax / body.length);
  // None of them is whole, so each that is not refused keeps its room.
  const senders = await Promise.all(
    Array.from({ length: fitting + 40 }, async () => {
      const connection = await RawConnection.open(server.ingest);
      connection.send(bytes.subarray(0, -1));
      return connection;
    }),
  );
  // Each needs less than is left, and together they fill it.
  await eventually('their room is full', async () => {
    return (await metric('edge_body_bytes')) > limits.largeBodyBytesInFlightMax - body.length;
  });
  for (let count = 0; count < 20; count += 1) await mustBeTaken();
  // Those that came in time are still taken; most of them go away.
  const last = bytes.subarray(-1);
  const answers = senders.slice(-60).map((connection) => {
    connection.send(last);
    return connection.response();
  });
  const statuses = await statusesOf(answers);
  for (const connection of senders) connection.cut();
  acknowledged += statuses.filter((status) => status === 200).length;
  expect(new Set(statuses)).toEqual(new Set([200, 503]));
  await eventually('their room is free', async () => (await metric('edge_body_bytes')) === 0);
  expect(await edgePeakBytes()).toBeLessThan(640 * mib);
});

test('bodies that become more are decoded a few at a time; beyond: 503', async () => {
  // Together they would be 600 MB.
  const bomb = zlib.gzipSync(Buffer.alloc(limits.batchBodyBytesMax, ' '));
  const headers = ['Content-Type: application/x-ndjson', 'Content-Encoding: gzip'];
  const bytes = requestBytes({ path: '/flood/bombs', headers, body: bomb }, key);
  const senders = await Promise.all(
    Array.from({ length: 120 }, () => RawConnection.open(server.ingest)),
  );
  for (const connection of senders) connection.send(bytes);
  await mustBeTaken();
  const statuses = await statusesOf(senders.map((connection) => connection.response()));
  for (const connection of senders) connection.cut();
  expect(new Set(statuses)).toEqual(new Set([400, 503]));
  await mustBeTaken();
  expect(await edgePeakBytes()).toBeLessThan(640 * mib);
});

test('of a connection so many requests are in work, and no more is read', async () => {
  await using folder = await temporaryDirectory();
  const waiting = Promise.withResolvers<undefined>();
  await using edge = await HeldEdge.open(folder.path, { settle: () => waiting.promise });
  const bytes = requestBytes({ path: '/held/piped', headers: ['Prefer: wait=30'] }, key);
  const count = 10_000;
  using connection = await RawConnection.open(edge.url);
  connection.send(Buffer.concat(Array.from({ length: count }, () => bytes)));
  const received = () => edge.metric('events_received_total');
  await eventually('some wait', async () => (await received()) >= limits.requestsInWorkMax);
  for (let turn = 0; turn < 20; turn += 1) {
    using other = await RawConnection.open(edge.url);
    other.send(requestBytes({ path: '/held/other' }, key));
    expect((await other.response())?.status).toBe(200);
  }
  expect(await received()).toBe(limits.requestsInWorkMax + 20);
  waiting.resolve(undefined);
  for (let answered = 0; answered < count; answered += 1) {
    expect((await connection.response())?.status).toBe(200);
  }
  expect(await received()).toBe(count + 20);
});

test('while the disk stands still, new events are refused at once; then it goes on', async () => {
  await using folder = await temporaryDirectory();
  const held = new HeldDisk();
  let nowMs = Date.now();
  await using edge = await HeldEdge.open(folder.path, {
    disk: held.disk,
    clock: { nowMs: () => nowMs },
  });
  const post = async () => {
    using connection = await RawConnection.open(edge.url);
    connection.send(requestBytes({ path: '/held/events' }, key));
    return await connection.response();
  };
  expect((await post())?.status).toBe(200);
  held.hold();
  const early = [post(), post()];
  await eventually('they wait', async () => (await edge.metric('events_received_total')) === 3);
  nowMs += limits.pendingMsMax + 1;
  expect(await statusesOf([post(), post()])).toEqual([503, 503]);
  held.release();
  expect(await statusesOf(early)).toEqual([200, 200]);
  expect((await post())?.status).toBe(200);
  expect(await edge.metric('events_durable_total')).toBe(4);
});

test('a key that is not known is looked up on the disk once for all who wait', async () => {
  await using folder = await temporaryDirectory();
  let looks = 0;
  const version = (path: string) => {
    looks += path.endsWith('keys.json') ? 1 : 0;
    return nodeDisk.version(path);
  };
  await using edge = await HeldEdge.open(folder.path, { disk: { ...nodeDisk, version } });
  const senders = await Promise.all(
    Array.from({ length: 100 }, () => RawConnection.open(edge.url)),
  );
  const before = looks;
  const bytes = requestBytes({ path: '/held/events' }, `1/${'b'.repeat(40)}`);
  for (const sender of senders) sender.send(bytes);
  const statuses = await statusesOf(senders.map((sender) => sender.response()));
  for (const sender of senders) sender.cut();
  expect(new Set(statuses)).toEqual(new Set([200]));
  expect(looks - before).toBeGreaterThan(0);
  expect(looks - before).toBeLessThan(50);
});

test('where there is no room for a connection, the one that was idle longest is cut', async () => {
  await using folder = await temporaryDirectory();
  await using edge = await HeldEdge.open(folder.path, {});
  const connect = () => {
    const [ours, its] = duplexPair();
    edge.connect(its);
    return { ours, its };
  };
  const all = Array.from({ length: limits.connectionsMax }, connect);
  const first = all[0]?.ours as Duplex;
  // Since then it is idle for a shorter time than the others.
  expect(await statusOn(first)).toBe(200);
  expect(await statusOn(connect().ours)).toBe(200);
  expect(all.map(({ its }) => its.destroyed).indexOf(true)).toBe(1);
  expect(await statusOn(first)).toBe(200);
  expect(await edge.metric('edge_connections')).toBe(limits.connectionsMax);
  expect(await edge.metric('edge_connections_cut_total')).toBe(1);
});

test('what was acknowledged is there once, and nothing else', async () => {
  await server.flush();
  const [stored] = await server.query<{ rows: number; parked: number }>(`
    SELECT sum(rows)::INTEGER AS rows,
      (SELECT count(*) FROM millrace.quarantine)::INTEGER AS parked FROM millrace.tables`);
  expect(stored).toEqual({ rows: acknowledged, parked: 0 });
});

async function mustBeTaken(): Promise<void> {
  expect((await server.post('flood/small', '{}', { 'X-TD-Write-Key': key })).status).toBe(200);
  acknowledged += 1;
}

/** Those of all answers; every 503 says when to come back. */
async function statusesOf(
  answers: readonly Promise<RawResponse | undefined>[],
): Promise<readonly number[]> {
  const all = await Promise.all(answers);
  for (const answer of all) {
    if (answer?.status === 503) expect(answer.head).toMatch(/^Retry-After: [1-9]\d*$/m);
  }
  return all.map((answer) => answer?.status ?? 0);
}

async function metric(name: string): Promise<number> {
  const metrics = await (await fetch(`${server.admin}/metrics`)).text();
  return Number(new RegExp(`^millrace_${name}\\{.*\\} (\\d+)$`, 'm').exec(metrics)?.[1]);
}

/** The most memory that the edge had so far. */
async function edgePeakBytes(): Promise<number> {
  const [, edge] = await serverProcesses(server.process.pid ?? 0);
  return edge?.peakBytes ?? NaN;
}

/** Sends an event and gives the status of its answer. */
async function statusOn(connection: Duplex): Promise<number> {
  connection.write(requestBytes({ path: '/held/events' }, key));
  const [bytes] = (await once(connection, 'data')) as [Buffer];
  return Number(bytes.toString('latin1').split(' ')[1]);
}
