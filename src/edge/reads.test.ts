import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { duplexPair } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { offerReads } from './reads.ts';

const door = createServer({ allowHalfOpen: true });
let theirs: Socket;
let ours: Socket;

beforeEach(async () => {
  door.listen(0, '127.0.0.1');
  await once(door, 'listening');
  const come = once(door, 'connection') as Promise<[Socket]>;
  theirs = connect((door.address() as AddressInfo).port, '127.0.0.1');
  [ours] = await come;
});

afterEach(() => {
  theirs.destroy();
  ours.destroy();
  door.close();
});

/** What comes as ever, from now on. */
function dataOf(socket: Socket): string[] {
  const seen: string[] = [];
  socket.on('data', (bytes: Buffer) => seen.push(bytes.toString()));
  socket.on('end', () => seen.push('end'));
  return seen;
}

test('what is taken does not become data, what is not does', async () => {
  const data = dataOf(ours);
  const offered: Buffer[] = [];
  offerReads(ours, (bytes) => {
    offered.push(bytes);
    ours.write(bytes.toString().toUpperCase());
    return offered.length !== 2;
  });
  for (const text of ['first', 'second', 'third']) {
    theirs.write(text);
    await once(theirs, 'data');
  }
  theirs.end();
  await once(ours, 'end');
  expect(data).toEqual(['second', 'end']);
  // All in the same memory.
  expect(offered.map(String)).toEqual(['third', 'thirdd', 'third']);
});

test('a paused one is read no further than its room, and then to its end', async () => {
  let length = 0;
  ours.on('data', (bytes: Buffer) => (length += bytes.length));
  offerReads(ours, () => false);
  ours.pause();
  const bytes = Buffer.alloc(50_000_000, 'x');
  theirs.end(bytes);
  while (ours.readableLength < ours.readableHighWaterMark) await setImmediate();
  for (let turn = 0; turn < 100; turn += 1) await setImmediate();
  expect(ours.bytesRead).toBeLessThan(2 * ours.readableHighWaterMark);
  ours.resume();
  await once(ours, 'end');
  expect(length).toBe(bytes.length);
});

test('one that the sender resets says so', async () => {
  dataOf(ours);
  offerReads(ours, () => true);
  theirs.resetAndDestroy();
  const [error] = (await once(ours, 'error')) as [Error];
  expect(error).toMatchObject({ code: 'ECONNRESET' });
});

test('what is no socket of the system is left as it is', async () => {
  const [here, there] = duplexPair();
  offerReads(here, () => true);
  there.write('text');
  const [bytes] = (await once(here, 'data')) as [Buffer];
  expect(bytes.toString()).toBe('text');
});
