import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type Duplex, duplexPair } from 'node:stream';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { limits } from '../src/base/index.ts';
import { eventually } from './support/eventually.ts';
import { HeldDisk, HeldEdge } from './support/held-edge.ts';
import { RawConnection } from './support/raw-connection.ts';
import { recordOf, requestBytes } from './support/requests.ts';
import { createKey, temporaryDirectory, TestServer } from './support/server.ts';

/* What time, an end, and a client that does not read do to a connection, in both lanes. */

const key = `1/${'a'.repeat(40)}`;
const event = requestBytes({ path: '/held/events' }, key);
/** Refused at once. */
const short = requestBytes({ path: '/held/e' }, key);
const byNode = requestBytes({ path: '/held/events', headers: ['Expect: nothing'] }, key);
/** Longer than what a connection holds that nobody reads. */
const page = requestBytes({ method: 'GET', path: '//openapi.json', body: '' }, key);

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;

beforeEach(async () => {
  directory = await temporaryDirectory();
});

afterEach(async () => {
  vi.useRealTimers();
  await directory.remove();
});

/** A connection, and what came on it. */
class Sender {
  readonly its: Duplex;
  readonly ours: Duplex;
  text = '';

  constructor(edge: HeldEdge) {
    [this.ours, this.its] = duplexPair();
    edge.connect(this.its);
  }

  read(): this {
    this.ours.on('data', (chunk: Buffer) => (this.text += chunk.toString('latin1')));
    return this;
  }

  get statuses(): readonly number[] {
    return [...this.text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status));
  }

  async answered(count: number): Promise<readonly number[]> {
    await eventually(`${count} answers`, () => Promise.resolve(this.statuses.length >= count));
    return this.statuses;
  }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await setImmediate();
}

function many(count: number, bytes: Buffer): readonly Buffer[] {
  return Array.from({ length: count }, () => bytes);
}

function connectTo(edge: HeldEdge): Socket {
  return connect({ port: Number(new URL(edge.url).port), host: '127.0.0.1' });
}

describe.each(['on', 'off'] as const)('with the hot lane %s', (hotLane) => {
  const open = (held: Parameters<typeof HeldEdge.open>[1] = {}) =>
    HeldEdge.open(directory.path, { ...held, config: { hotLane } });

  test('a client that reads late gets all answers, in their order', async () => {
    await using edge = await open();
    const sender = new Sender(edge);
    sender.ours.write(Buffer.concat([...many(500, short), byNode]));
    // Until no more can be written.
    await turns(200);
    sender.read();
    const first = [...many(500, short).map(() => 400), 200];
    expect(await sender.answered(501)).toEqual(first);
    sender.ours.write(event);
    expect(await sender.answered(502)).toEqual([...first, 200]);
  });

  test('so does one that reads late over TCP, where answers are long', async () => {
    // One that is not known waits for the disk, and then too many dry runs begin at once.
    const known = await createKey(directory.path, 'held');
    await using edge = await open({ explain: (record) => Promise.resolve(String(record)) });
    const path = '//debug/postback/v3/event/held/events';
    const long = requestBytes({ path, body: recordOf(60_000) }, known);
    const ours = connectTo(edge);
    ours.write(Buffer.concat([...many(300, long), byNode, event]));
    await sleep(500);
    let text = '';
    ours.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    const answered = () => text.match(/HTTP\/1\.1 200/g)?.length ?? 0;
    await eventually('all are answered', () => Promise.resolve(answered() === 302));
    expect(text.slice(-1_000).match(/X-Millrace-Receipt/g)).toHaveLength(2);
    ours.destroy();
  });

  test.each([2, 40])('one that reads %i long answers of Node late is read on', async (count) => {
    await using edge = await open();
    const sender = new Sender(edge);
    sender.ours.write(Buffer.concat(many(count, page)));
    await turns(200);
    sender.read();
    const answers = many(count, page).map(() => 200);
    expect(await sender.answered(count)).toEqual(answers);
    sender.ours.write(event);
    expect(await sender.answered(count + 1)).toEqual([...answers, 200]);
  });

  test('what comes while the first are stored stays in its order', async () => {
    const held = new HeldDisk();
    await using edge = await open({ disk: held.disk });
    held.hold();
    const ours = connectTo(edge);
    // Each is refused with the text that it sent.
    const told = Array.from({ length: 3_000 }, (_, number) =>
      requestBytes({ path: '/held/events', body: `x${number}` }, key),
    );
    ours.write(Buffer.concat([...many(20, event), byNode, ...told, byNode]));
    let text = '';
    ours.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    await sleep(200);
    expect(text).toBe('');
    held.release();
    const answers = () => text.split('HTTP/1.1 ').slice(1);
    await eventually('all are answered', () => Promise.resolve(answers().length === 3_022));
    const seen = answers().map((answer) => Number(/"x(\d+)\\"/.exec(answer)?.[1] ?? -1));
    expect(seen).toEqual([...many(21, event).map(() => -1), ...told.keys(), -1]);
    ours.destroy();
  });

  test('what was begun is answered when the server stops, and what is idle is closed', async () => {
    await using server = await TestServer.start(directory.path, ['--hot-lane', hotLane]);
    using idle = await RawConnection.open(server.ingest);
    using amid = await RawConnection.open(server.ingest);
    idle.send(event);
    expect((await idle.response())?.head).toMatch(/^Connection: keep-alive\r$/m);
    amid.send(event.subarray(0, -1));
    await sleep(100);
    const stopped = server.stop();
    await idle.closed();
    amid.send(event.subarray(-1));
    const answer = await amid.response();
    expect(answer?.head).toMatch(/^HTTP\/1\.1 200 [^]*^Connection: close\r$/m);
    expect(await stopped).toBe(0);
  });

  test('an edge that closes answers all that it has read, and reads no more', async () => {
    const held = new HeldDisk();
    const edge = await open({ disk: held.disk });
    held.hold();
    const ours = connectTo(edge);
    let text = '';
    ours.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    ours.write(Buffer.concat([event, event, event]));
    const received = () => edge.metric('events_received_total');
    await eventually('they wait', async () => (await received()) === 3);
    const closed = edge[Symbol.asyncDispose]();
    ours.write(event);
    await sleep(100);
    held.release();
    await once(ours, 'close');
    await closed;
    const [kept, last] = ['200 keep-alive', '200 close'];
    const seen = text.matchAll(/HTTP.1.1 (\d+)[^]*?^Connection: (\S+)/gm);
    expect([...seen].map(([, ...words]) => words.join(' '))).toEqual([kept, kept, last]);
    expect(await received()).toBe(3);
  });

  test('over TLS it is the same', async () => {
    const args = ['--hot-lane', hotLane, '--tls-port', '0', '--tls-self-signed'];
    await using server = await TestServer.start(directory.path, args);
    const { port } = new URL(server.tls ?? '');
    const socket = connectTls({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false });
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    await once(socket, 'secureConnect');
    const whole = Buffer.concat([event, event, short, byNode, event, byNode, event]);
    for (const at of [0, 700]) socket.write(whole.subarray(at, at + 700));
    // The last one breaks off.
    socket.end(event.subarray(0, -1));
    await once(socket, 'close');
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status);
    expect(statuses.join()).toBe('200,200,400,200,200,200,200,400');
  });

  test('of those that go away amid a request nothing is held', async () => {
    const held = new HeldDisk();
    await using edge = await open({ disk: held.disk });
    held.hold();
    const cuts = [1, 30, event.length - 1, event.length, event.length + 1, 2 * event.length - 1];
    const all = cuts.flatMap((bytes) => {
      const senders = [new Sender(edge), new Sender(edge)];
      for (const { ours } of senders) ours.write(Buffer.concat([event, event]).subarray(0, bytes));
      return senders;
    });
    await eventually('they came', async () => (await edge.metric('edge_body_bytes')) > 0);
    await turns(20);
    for (const { its } of all) its.destroy();
    held.release();
    await eventually('nothing is held', async () => {
      const bytes = await edge.metric('edge_body_bytes');
      return bytes + (await edge.metric('edge_connections')) === 0;
    });
  });

  test('beyond the requests that may wait, connections are cut', async () => {
    const held = new HeldDisk();
    await using edge = await open({ disk: held.disk });
    held.hold();
    const all = Array.from({ length: 4 }, () => new Sender(edge).read());
    const each = Math.ceil(limits.requestsWaitingMax / 3);
    const bytes = Buffer.concat(many(each, event));
    for (const { ours } of all) ours.write(bytes);
    await eventually('one is cut', () => Promise.resolve(all.some(({ its }) => its.destroyed)));
    expect(await edge.metric('edge_connections_cut_total')).toBeGreaterThan(0);
    held.release();
    const left = all.filter(({ its }) => !its.destroyed);
    expect(left.length).toBeGreaterThan(0);
    for (const sender of left) expect((await sender.answered(100))[99]).toBe(200);
  });
});

test('an edge that closes writes its answers, to those who read late too', async () => {
  const edge = await HeldEdge.open(directory.path, { config: { hotLane: 'on' } });
  const sender = new Sender(edge);
  sender.ours.write(Buffer.concat(many(500, short)));
  await eventually('no more can be written', () => Promise.resolve(sender.its.writableNeedDrain));
  await sleep(300);
  await edge[Symbol.asyncDispose]();
  sender.read();
  await once(sender.ours, 'end');
  expect(sender.statuses).toHaveLength(500);
});

/** An edge that closes while an event waits for its disk. */
async function closing() {
  const held = new HeldDisk();
  const edge = await HeldEdge.open(directory.path, { disk: held.disk, config: { hotLane: 'on' } });
  held.hold();
  const sender = new Sender(edge).read();
  sender.ours.write(event);
  const received = () => edge.metric('events_received_total');
  await eventually('it waits', async () => (await received()) === 1);
  return { held, sender, received, closed: edge[Symbol.asyncDispose]() };
}

test('behind the last answer of an edge that closes nothing is read', async () => {
  const { held, sender, received, closed } = await closing();
  held.release();
  await closed;
  expect(await sender.answered(1)).toEqual([200]);
  sender.ours.write(event);
  await turns(20);
  expect(await received()).toBe(1);
});

test('an edge that closes waits for none who always sends one more', async () => {
  const { held, sender, received, closed } = await closing();
  sender.ours.write(event);
  await turns(20);
  expect(await received()).toBe(1);
  held.release();
  await closed;
  expect(await sender.answered(1)).toEqual([200]);
  expect(sender.text).toMatch(/^Connection: close\r$/m);
});

/* Of Node's own lane these are Node's. */
describe('time', () => {
  const open = () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    return HeldEdge.open(directory.path, { config: { hotLane: 'on' } });
  };
  /** More than the sweep that sees it. */
  const pass = async (ms: number) => {
    vi.advanceTimersByTime(ms + 2_000);
    await turns(10);
  };

  test('a connection that says nothing is told so; what it says then is not read', async () => {
    await using edge = await open();
    const sender = new Sender(edge).read();
    await pass(limits.headersTimeoutMs - 3_000);
    expect(sender.text).toBe('');
    await pass(1_000);
    expect(sender.statuses).toEqual([408]);
    sender.ours.write(event);
    await turns(20);
    sender.ours.end();
    await once(sender.its, 'close');
    expect(sender.statuses).toEqual([408]);
    expect(await edge.metric('events_received_total')).toBe(0);
  });

  test('one that goes on saying nothing is cut', async () => {
    await using edge = await open();
    const sender = new Sender(edge).read();
    await pass(limits.headersTimeoutMs);
    expect(sender.statuses).toEqual([408]);
    sender.ours.write('a');
    await pass(limits.stillTimeoutMs);
    expect(sender.its.destroyed).toBe(true);
  });

  test('an idle one is closed, and one in use is not', async () => {
    await using edge = await open();
    const [idle, used] = [new Sender(edge).read(), new Sender(edge).read()];
    for (const { ours } of [idle, used]) ours.write(event);
    for (const sender of [idle, used]) await sender.answered(1);
    await pass(limits.keepAliveTimeoutMs / 2);
    used.ours.write(event);
    await used.answered(2);
    await pass(limits.keepAliveTimeoutMs / 2);
    expect([idle.its.destroyed, used.its.destroyed]).toEqual([true, false]);
  });

  test('a client that reads no answer is cut', async () => {
    await using edge = await open();
    const sender = new Sender(edge);
    sender.ours.write(Buffer.concat(many(1_000, short)));
    const isFull = () => Promise.resolve(sender.its.writableNeedDrain);
    await eventually('no more can be written', isFull);
    await pass(limits.stillTimeoutMs);
    expect(sender.its.destroyed).toBe(true);
    expect(await edge.metric('edge_body_bytes')).toBe(0);
  });

  test('a request that takes its time is read all the same', async () => {
    await using edge = await open();
    const sender = new Sender(edge).read();
    const wholes = Buffer.concat([event, event]);
    for (let at = 0; at < wholes.length; at += 100) {
      sender.ours.write(wholes.subarray(at, at + 100));
      await pass(0);
    }
    expect(await sender.answered(2)).toEqual([200, 200]);
    await eventually('nothing is held', async () => (await edge.metric('edge_body_bytes')) === 0);
  });
});
