import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { limits } from '../base/index.ts';
import { Line, listenForLines } from './line.ts';

let directory: string;
let server: Awaited<ReturnType<typeof listenForLines>>;
let line: Line;
let other: Socket;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  const path = join(directory, 'a.sock');
  const taken = Promise.withResolvers<Line>();
  server = await listenForLines(path, taken.resolve);
  other = connect(path);
  line = await taken.promise;
});

afterEach(async () => {
  line.end();
  other.destroy();
  server.close();
  await rm(directory, { recursive: true });
});

test('what is said comes whole, whatever pieces it comes in', async () => {
  const heard: unknown[] = [];
  line.on('message', (message) => heard.push(message));
  const said = [{ a: 'ä€😀' }, { b: '\n' }, { c: 'x'.repeat(200_000) }];
  const bytes = Buffer.from(said.map((message) => `${JSON.stringify(message)}\n`).join(''));
  for (let at = 0; at < 40; at += 1) {
    other.write(bytes.subarray(at, at + 1));
    await new Promise(setImmediate);
  }
  other.end(bytes.subarray(40));
  await once(line, 'disconnect');
  expect(heard).toEqual(said);
  expect(line.connected).toBe(false);
});

test('what is no message cuts the line, and nothing else', async () => {
  other.write('{"a":1}\n{"b"\n');
  await once(line, 'disconnect');
  expect(line.send({ c: 2 })).toBe(false);
});

test('who does not listen is cut, and its words take no more memory', async () => {
  other.pause();
  const message = { text: 'x'.repeat(1024 * 1024) };
  const most = limits.lineBytesMax / message.text.length + 10;
  let said = 0;
  while (said < most && line.connected) {
    line.send(message);
    said += 1;
  }
  expect(said).toBeLessThan(most);
});

test('who never ends a message is cut', async () => {
  other.on('error', () => undefined);
  other.write('x'.repeat(limits.lineBytesMax + 1));
  await once(line, 'disconnect');
});
