import { AsyncLocalStorage } from 'node:async_hooks';
import { request } from 'node:http';
import { duplexPair } from 'node:stream';
import { expect, test } from 'vitest';
import { openEdge } from '../../src/app.ts';
import { createLogger, Metrics, sleep } from '../../src/base/index.ts';
import { decodeSubmission } from '../../src/event/index.ts';
import { LogReader } from '../../src/log/index.ts';
import { toolsOf } from '../../src/tools.ts';
import { configOf } from '../support/config.ts';
import { seeded, SimDisk } from './disk.ts';

/*
 * Two edges of one machine, from HTTP to a simulated disk. One is killed again and again, at any
 * moment, while the other goes on; in the end the power fails.
 */

const rounds = 40;
const requestsAtOnce = 6;
const config = configOf('/data', 2);

type Running = { readonly process: object; readonly rooms: Awaited<ReturnType<typeof openEdge>> };

test('what two edges acknowledge is logged once, though one is killed all the time', async () => {
  const random = seeded(6);
  const processes = new AsyncLocalStorage<object>();
  /** Hears that the disk is at work for a process. */
  let heard: (process: object | undefined) => void = ignore;
  const pass = async () => {
    heard(processes.getStore());
    for (let turns = 1 + Math.floor(random() * 3); turns > 0; turns -= 1) await sleep(0);
  };
  const disk = new SimDisk(random, { owner: () => processes.getStore(), pass });
  const open = async (shard: number): Promise<Running> => {
    const process = {};
    const [logger, metrics] = [createLogger('silent', 'sim'), new Metrics('sim')];
    const onFatal = () => expect.unreachable('no fault was asked for');
    const tools = {
      ...toolsOf(config, 'sim'),
      disk,
      logger,
      metrics,
      onFatal,
      segmentBytes: 2_000,
    };
    const link = { durable: ignore, explain: unknown, settle: unknown };
    const rooms = await processes.run(process, () => openEdge(config, shard, link, tools));
    return { process, rooms };
  };
  const sent = new Map<string, number | undefined>();
  const post = ({ process, rooms }: Running) => {
    const id = `e${sent.size}`;
    sent.set(id, undefined);
    return processes.run(process, () => {
      const [connection, other] = duplexPair();
      rooms.edge.connect(other);
      return answered(connection, JSON.stringify({ id, pad: '#'.repeat(random() * 900) })).then(
        (status) => void sent.set(id, status),
        ignore,
      );
    });
  };

  const steady = await open(1);
  let mortal = await open(0);
  for (let round = 0; round < rounds; round += 1) {
    const answers = Array.from({ length: requestsAtOnce }, () => {
      void post(mortal);
      return post(steady);
    });
    // At any moment; and, each second time, in one of its next operations: the first ones look
    // for keys, then it writes.
    if (round % 2 === 0) await sleep(random() * 6);
    else {
      const { promise, resolve } = Promise.withResolvers<void>();
      let left = 1 + Math.floor(random() * 4);
      heard = (process) => {
        left -= process === mortal.process ? 1 : 0;
        if (left === 0) resolve();
      };
      await promise;
    }
    disk.kill(mortal.process);
    void mortal.rooms.close();
    await Promise.all(answers);
    mortal = await open(0);
  }
  await Promise.all([post(steady), post(mortal)]);

  const ends = [mortal, steady].map(({ rooms }) => rooms.log.durableOffset);
  const after = disk.crash('power');
  for (const running of [mortal, steady]) void running.rooms.close();
  const stored = new Map<string, number>();
  for (const [shard, end] of ends.entries()) {
    for (const id of await idsIn(after, shard, end)) stored.set(id, (stored.get(id) ?? 0) + 1);
  }
  const idsWith = (status: number | undefined) =>
    [...sent].filter(([, given]) => given === status).map(([id]) => id);
  const [acknowledged, unanswered] = [idsWith(200), idsWith(undefined)];
  expect(acknowledged.length + unanswered.length, 'nothing is refused').toBe(sent.size);
  expect(acknowledged.filter((id) => stored.get(id) !== 1)).toEqual([]);
  expect([...stored].filter(([id, count]) => !sent.has(id) || count > 1)).toEqual([]);
  // Else nothing is shown.
  expect(acknowledged.length).toBeGreaterThan(rounds * requestsAtOnce);
  expect(unanswered.length).toBeGreaterThan(rounds);
  expect(
    unanswered.some((id) => stored.has(id)),
    'some were stored all the same',
  ).toBe(true);
});

function ignore(): void {}

function unknown(): Promise<undefined> {
  return Promise.resolve(undefined);
}

/** Posts an event on a connection of its own; gives the status of the answer. */
function answered(connection: ReturnType<typeof duplexPair>[0], body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const path = '/postback/v3/event/sim/events';
    const headers = { 'X-TD-Write-Key': `1/${'0'.repeat(40)}`, 'Content-Type': 'application/json' };
    const posted = request({
      method: 'POST',
      path,
      headers: { ...headers, 'Content-Length': Buffer.byteLength(body) },
      createConnection: () => connection,
    });
    posted.once('response', (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    posted.once('error', reject);
    posted.end(body);
  });
}

async function idsIn(disk: SimDisk, shard: number, end: number): Promise<readonly string[]> {
  const reader = await LogReader.open(disk, `/data/log/${shard}`);
  const ids: string[] = [];
  for (let at = reader.firstOffset; at < end; ) {
    const { records, damage, next } = await reader.read(at, end, 1_000_000);
    expect(damage).toEqual([]);
    for (let index = 0; index < records.length; index += 1) {
      for (const { postback } of decodeSubmission(records.recordAt(index))) {
        ids.push((JSON.parse(String(postback.body)) as { id: string }).id);
      }
    }
    at = next;
  }
  return ids;
}
