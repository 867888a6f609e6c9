import { EventEmitter } from 'node:events';
import { expect, test, vi } from 'vitest';
import { createLogger } from '../src/base/index.ts';
import { runChild } from '../src/child.ts';
import { edgesSocket } from '../src/config.ts';
import { encodeSubmission, fingerprintOf } from '../src/event/index.ts';
import type { ChildProcess } from '../src/supervise/index.ts';
import { type Line, listenForLines } from '../src/supervise/line.ts';
import { toolsOf } from '../src/tools.ts';
import { configOf } from './support/config.ts';
import { eventually } from './support/eventually.ts';
import { openLog } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* A store by itself, and what the edges of another server tell it. */

const record = encodeSubmission({
  dialect: 'postback',
  receivedAtMs: Date.now(),
  fingerprint: fingerprintOf('1/a'),
  context: {},
  groups: [{ database: 'shop', table: 'orders', bodies: [Buffer.from('{"a":1}')] }],
});

test('a late word of an edge that died, whose shard is loaded, stops nothing', async () => {
  await using directory = await temporaryDirectory();
  const data = directory.path;
  const log = await openLog(data, 0);
  await log.append(record);
  const { mark } = log;
  await log.close();

  const config = { ...configOf(data), role: 'store' as const, quarantineBytes: 2 ** 30 };
  const logger = createLogger('silent', 'test');
  const errors = vi.spyOn(logger, 'error');
  const tools = { ...toolsOf(config, 'store'), logger, standBack: () => undefined };
  const process = Object.assign(new EventEmitter(), {
    connected: true,
    pid: 1,
    exit: () => undefined as never,
    send: (_: unknown, ...rest: readonly unknown[]) => {
      (rest.at(-1) as () => void)();
      return true;
    },
  });
  const running = runChild(process as unknown as ChildProcess, () => tools);
  process.emit('message', { type: 'start', role: { kind: 'store' }, config });
  const metric = async (name: string) => {
    const all = (await tools.metrics.snapshot()) as { name: string; values: { value: number }[] }[];
    return all.find((one) => one.name === name)?.values[0]?.value;
  };
  await eventually('it is loaded', async () => {
    const isCommitted = (await metric('millrace_events_committed_total')) === 1;
    return isCommitted && (await metric('millrace_wal_waiting_bytes')) === 0;
  });

  const asked = { kind: 'explain', record: record.toString('base64') };
  const told = Promise.withResolvers<unknown>();
  const door = await listenForLines(edgesSocket(data), (line: Line) => {
    line.on('message', told.resolve);
    line.send({ type: 'edges', edges: 1 });
    line.send({ type: 'durable', shard: 0, mark });
    line.send({ type: 'question', id: 'a', shard: 0, asked });
  });
  expect(await told.promise).toMatchObject({ type: 'told', id: 'a' });
  expect(errors.mock.calls).toEqual([]);
  process.emit('message', { type: 'drain' });
  await running;
  door.close();
});
