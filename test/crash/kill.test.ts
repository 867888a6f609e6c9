import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { Random } from '../support/random.ts';
import { audit, Ledger, promiseKept, Senders } from '../support/senders.ts';
import { createKey, query, temporaryDirectory, TestServer } from '../support/server.ts';

const rounds = 20;
/** A server is started and killed again and again: longer on a busy machine. */
const timeoutMs = 400_000;
const connections = 32;
const acknowledgedMin = 3_000;
const tables = ['crash/clicks', 'crash/orders', 'crash/visits'];

test(
  `${rounds} kills of the whole server lose nothing and double nothing`,
  async () => {
    const random = new Random();
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const key = await createKey(data, 'crash');
    const ledger = new Ledger();
    let kills = 0;
    for (let round = 0; round < rounds; round += 1) {
      // Recovery is interrupted now and then, too.
      if (round % 4 === 3) await TestServer.startAndKill(data, random.integer(100, 800));
      // Edges come and go, so that their shards are also loaded without them.
      await using server = await TestServer.start(data, ['--edges', String(1 + (round % 3))]);
      await using senders = new Senders({ ...loadOn(server, key, random), ledger });
      await senders.firstAcknowledged;
      await sleep(random.integer(50, 600));
      expect(server.process.exitCode, `seed ${random.seed}: alive until it is killed`).toBeNull();
      await server.kill();
      kills += 1;
      await senders.stop();
    }
    await using server = await TestServer.start(data);
    await server.flush();

    const because = `seed ${random.seed}`;
    expect(await audit(data, tables, ledger), because).toEqual(promiseKept);
    expect(kills).toBe(rounds);
    expect(ledger.acknowledged.size, because).toBeGreaterThan(acknowledgedMin);
    expect(ledger.unanswered.size, `${because}: the kills met open requests`).toBeGreaterThan(
      rounds,
    );
  },
  timeoutMs,
);

test.each(['store', 'edge'] as const)(
  'when only the %s is killed, its supervisor starts it again; nothing is lost or doubled',
  async (kind) => {
    const random = new Random();
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const key = await createKey(data, 'crash');
    await using server = await TestServer.start(data, ['--edges', '2']);
    const ledger = new Ledger();
    await using senders = new Senders({ ...loadOn(server, key, random), ledger });
    await senders.firstAcknowledged;
    const killed = new Set<number>();
    for (let count = 0; count < 4; count += 1) {
      await sleep(random.integer(100, 800));
      const child = await childOf(server, kind, killed);
      killed.add(child);
      process.kill(child, 'SIGKILL');
    }
    const before = ledger.acknowledged.size;
    await childOf(server, kind, killed);
    await sleep(1_000);
    await senders.stop();
    // The last one may have been killed a moment ago.
    await eventually('the store answers', () => server.flush().then(() => true));

    const because = `seed ${random.seed}`;
    expect(ledger.acknowledged.size, `${because}: it goes on`).toBeGreaterThan(before);
    expect(await audit(data, tables, ledger), because).toEqual(promiseKept);
    expect(server.process.exitCode, 'the supervisor lived on').toBeNull();
    expect(await server.stop()).toBe(0);
  },
);

/** The request of the specification. */
const specified = { param1: 'value1', param2: 1234 };
const specifiedQuery = 'SELECT param1, param2, typeof(param2) AS type FROM demo.events';

test('the first event is a row after a kill: in the server that starts next', async () => {
  await using directory = await temporaryDirectory();
  await sendOneAndKill(directory.path);
  await using server = await TestServer.start(directory.path);
  await server.flush();
  const rows = await query(directory.path, specifiedQuery);
  expect(rows).toEqual([{ ...specified, type: 'BIGINT' }]);
});

test('the first event is a row after a kill: on the closed directory', async () => {
  await using directory = await temporaryDirectory();
  await sendOneAndKill(directory.path);
  const rows = await query(directory.path, specifiedQuery);
  expect(rows).toEqual([{ ...specified, type: 'BIGINT' }]);
});

async function sendOneAndKill(data: string): Promise<void> {
  const key = await createKey(data, 'demo');
  await using server = await TestServer.start(data);
  const exited = once(server.process, 'exit');
  const { status } = await server.post('demo/events', specified, { 'X-TD-Write-Key': key });
  await server.kill();
  expect(status).toBe(200);
  expect(await exited).toEqual([null, 'SIGKILL']);
}

/** Most events are short; some span many pages, so that a kill can tear them. */
function loadOn({ ingest }: TestServer, key: string, random: Random) {
  const padBytes = () => random.integer(0, random.integer(0, 9) === 0 ? 30_000 : 200);
  return { ingest, key, tables, connections, padBytes };
}

/** A process of the server that was not killed before; waits until there is one. */
async function childOf(
  server: TestServer,
  kind: 'store' | 'edge',
  killed: ReadonlySet<number>,
): Promise<number> {
  for (let waits = 0; waits < 300; waits += 1) {
    for (const pid of await childrenOf(server.process.pid ?? 0)) {
      if (!killed.has(pid) && (await kindOf(pid)) === kind) return pid;
    }
    await sleep(50);
  }
  throw new Error(`no ${kind} was started again: ${server.stderr()}`);
}

async function childrenOf(parent: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${parent}/task/${parent}/children`, 'utf8');
  return text.trim().split(' ').filter(Boolean).map(Number);
}

/** What a process is can be seen by the files it holds; neither while it starts. */
async function kindOf(pid: number): Promise<'store' | 'edge' | undefined> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []);
  const files = await Promise.all(
    names.map((name) => readlink(`${folder}/${name}`).catch(() => '')),
  );
  if (files.some((file) => /\/store\/.*\.duckdb$/.test(file))) return 'store';
  return files.some((file) => /\/log\/\d+\/LOCK$/.test(file)) ? 'edge' : undefined;
}
