import { openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { markOf } from './recording.ts';
import { createKey, millrace, TestServer } from './server.ts';

/*
 * A small life of a server, to be recorded: senders, strangers, files, keys, a backup, a kill.
 * `node power-load.ts FOLDER LEDGER`: everything is done below the folder; the ledger says what was
 * sent and which receipt it got.
 */

export type Sent = {
  readonly id: string;
  readonly body: string;
  /** Undefined if there was no answer. */
  readonly receipt: string | undefined;
};

const stranger = `1/${'0123456789'.repeat(4)}`;
const [folder = '', ledgerFile = ''] = process.argv.slice(2);
const data = join(folder, 'data');
const sent: Sent[] = [];

/** For the recording: from here on it is so. */
function mark(what: string): void {
  try {
    openSync(markOf(what), 'r');
  } catch {}
}

async function send(server: TestServer, key: string, count: number, padBytes = 40): Promise<void> {
  const posts = Array.from({ length: count }, async (_, n) => {
    const id = `e${sent.length + n}`;
    const table = n % 3 === 0 ? 'orders' : 'events';
    const pad = '#'.repeat(n % 4 === 0 ? padBytes : n);
    const body = JSON.stringify({ id, pad_bytes: pad.length, pad });
    const answer = await server
      .post(`demo/${table}`, body, { 'X-TD-Write-Key': key })
      .catch(() => undefined);
    if (answer && answer.status !== 200) throw new Error(`${id} got ${answer.status}`);
    return { id, body, receipt: answer?.headers.get('X-Millrace-Receipt') ?? undefined };
  });
  sent.push(...(await Promise.all(posts)));
}

async function command(server: TestServer, path: string, asked: object): Promise<void> {
  const headers = { 'Content-Type': 'application/json' };
  const init = { method: 'POST', headers, body: JSON.stringify(asked) };
  const answer = await fetch(`${server.admin}/${path}`, init);
  if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
}

async function stop(server: TestServer): Promise<void> {
  const code = await server.stop();
  if (code !== 0) throw new Error(`ended with ${code}: ${server.stderr()}`);
}

const key = await createKey(data, 'demo');
mark('first key');
{
  await using server = await TestServer.start(data);
  for (let n = 0; n < 5; n += 1) await send(server, key, 3);
  await server.flush();
  await send(server, stranger, 4);
  await send(server, key, 12, 20_000);
  await server.flush();
  await command(server, 'tables/archive', {});
  await send(server, key, 6);
  const imported = ['keys', 'import', '--data', data, '--database', 'demo', '--name', 'late'];
  const { code, stderr } = await millrace(imported, { input: stranger });
  if (code !== 0) throw new Error(stderr);
  mark('second key');
  await send(server, stranger, 4);
  await server.flush();
  await command(server, 'backup', { directory: join(folder, 'backup') });
  mark('backup');
  await send(server, key, 6, 9_000);
  await stop(server);
}
{
  await using server = await TestServer.start(data, ['--edges', '2']);
  await send(server, key, 8);
  await server.flush();
  await command(server, 'tables/archive', {});
  const erased = { database: 'demo', table: 'orders', where: "id = 'nobody'" };
  await command(server, 'tables/erase', erased);
  await send(server, key, 8, 9_000);
  await server.flush();
  const typed = { database: 'demo', table: 'events', column: 'pad_bytes', type: 'DOUBLE' };
  await command(server, 'columns/set-type', typed);
  await send(server, key, 3);
  const cut = send(server, key, 24, 9_000);
  await server.kill();
  await cut;
}
{
  await using server = await TestServer.start(data, ['--raw-days', '1']);
  await server.flush();
  await send(server, key, 3);
  await stop(server);
}
writeFileSync(ledgerFile, JSON.stringify(sent));
