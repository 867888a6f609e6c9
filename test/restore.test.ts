import { appendFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { filesOf, manifestOf, mustBeTidy } from './support/backups.ts';
import { Line } from './support/line.ts';
import { type Audit, audit, Ledger, promiseKept, Senders } from './support/senders.ts';
import { createKey, millrace, query, temporaryDirectory, TestServer } from './support/server.ts';

/* Backups of a server that goes on, by the commands, and servers on what was restored. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let data: string;
let kept: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
  data = join(directory.path, 'data');
  kept = join(directory.path, 'kept');
  await mkdir(data);
});
afterEach(() => directory.remove());

type Sent = { readonly acknowledged: readonly string[] };

/** Rows of past days in many files, which a server will merge. */
async function withLake(): Promise<string> {
  const line = await Line.open(data);
  for (let n = 0; n < 6; n += 1) {
    await line.append(JSON.stringify({ id: `old${n}`, pad: '', pad_bytes: 0 }));
    await line.flush();
    await line.loader.archivist.archive({ database: 'shop', table: 'orders' });
  }
  await line.close();
  return line.key;
}

/** What a backup has of the events that were sent by now. */
async function auditOf(at: string, sent: Sent, ledger: Ledger): Promise<Audit> {
  const found = await audit(at, ['shop/orders', 'shop/visits'], ledger);
  const there = new Set(
    (
      await query<{ id: string }>(at, 'SELECT id FROM shop.orders UNION SELECT id FROM shop.visits')
    ).map(({ id }) => id),
  );
  return {
    ...found,
    lost: sent.acknowledged.filter((id) => !there.has(id)),
    neverSent: found.neverSent.filter((id) => !id.startsWith('old')),
  };
}

test('every event that was acknowledged before is there once, while more come', async () => {
  const key = await withLake();
  const ledger = new Ledger();
  await using server = await TestServer.start(data, ['--edges', '2']);
  const tables = ['shop/orders', 'shop/visits'];
  const load = { ingest: server.ingest, key, tables, ledger, connections: 8 };
  await using senders = new Senders({ ...load, padBytes: () => 2_000 });
  await senders.firstAcknowledged;
  const made: { readonly at: string; readonly sent: Sent }[] = [];
  let waitingBytes = 0;
  for (let count = 0; count < 2; count += 1) {
    await sleep(700);
    const sent = { acknowledged: [...ledger.acknowledged] };
    const ran = await millrace(['backup', kept, '--data', data, '--json']);
    expect(ran).toMatchObject({ code: 0, stderr: '' });
    const { shards } = await manifestOf(kept);
    waitingBytes += shards.reduce((sum, { cursor, durable }) => sum + durable - cursor, 0);
    const at = join(directory.path, `restored-${count}`);
    expect(await millrace(['restore', kept, '--data', at])).toMatchObject({ code: 0 });
    made.push({ at, sent });
  }
  expect(waitingBytes, 'some of it is in the log only').toBeGreaterThan(0);
  await mustBeTidy(kept);
  await senders.stop();
  await server.flush();
  const all = await audit(data, tables, ledger);
  expect({ ...all, neverSent: [] }).toEqual(promiseKept);
  await server.stop();
  for (const { at, sent } of made) {
    expect(sent.acknowledged.length).toBeGreaterThan(100);
    await using other = await TestServer.start(at, ['--edges', '2']);
    const now = { id: 'now', pad: '', pad_bytes: 0 };
    const posted = await other.post('shop/orders', now, { 'X-TD-Write-Key': key });
    expect(posted.status).toBe(200);
    await other.flush();
    expect(await auditOf(at, sent, ledger)).toEqual({ ...promiseKept, neverSent: ['now'] });
    expect(await other.query('FROM millrace.ledger WHERE remainder <> 0')).toEqual([]);
    expect(await other.query(`SELECT count(*) AS n FROM shop.orders WHERE id LIKE 'old%'`)).toEqual(
      [{ n: 6 }],
    );
    expect(other.stderr()).not.toContain('"level":"error"');
  }
});

test('the command says what it did, with a server and without', async () => {
  const key = await createKey(data, 'shop');
  await using server = await TestServer.start(data);
  await server.post('shop/orders', { n: 1 }, { 'X-TD-Write-Key': key });
  const ran = await millrace(['backup', kept, '--data', data]);
  expect(ran.stdout).toContain(`${kept} is a backup: 3 files, `);
  expect(ran.stdout).toContain(`To restore: millrace restore ${kept} --data NEW`);
  const relative = await millrace(['backup', '', '--data', data]);
  expect(relative).toMatchObject({ code: 1 });
  const inside = await millrace(['backup', join(data, 'x'), '--data', data]);
  expect(inside.stderr).toContain('lie in each other');
  await server.stop();

  const again = await millrace(['backup', kept, '--data', data, '--json']);
  const lines = again.stdout.trimEnd().split('\n');
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ progress: { unit: 'bytes' } });
  const tables = [{ database: 'shop', table: 'orders', rows: 1 }];
  expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ directory: kept, tables });
  const checked = await millrace(['backup', 'verify', kept]);
  expect(checked.stdout).toContain(`${kept} is whole: 3 files, `);
  const json = await millrace(['backup', 'verify', kept, '--json']);
  expect(JSON.parse(json.stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({ tables });

  const at = join(directory.path, 'new');
  const made = await millrace(['restore', kept, '--data', at]);
  expect(made.stdout).toContain('1 table, 1 row\n');
  expect(made.stdout).toContain(`To start: millrace serve --data ${at}`);
  expect(await query(at, 'SELECT n FROM shop.orders')).toEqual([{ n: 1 }]);
  const twice = await millrace(['restore', kept, '--data', at]);
  expect(twice.stderr).toContain('is there and is not an empty folder');
  const [segment = ''] = (await filesOf(kept)).filter((name) => name.endsWith('.seg'));
  await appendFile(segment, 'x');
  const damaged = await millrace(['backup', 'verify', kept]);
  expect(damaged).toMatchObject({ code: 1 });
  expect(damaged.stderr).toContain(segment.slice(kept.length + 1));
});
