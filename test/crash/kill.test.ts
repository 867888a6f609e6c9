import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type CrashReport, targets } from '../../src/selftest/index.ts';
import { createKey, millrace, query, temporaryDirectory, TestServer } from '../support/server.ts';

/** More of them: npm run test:kill. */
const rounds = 6;
const selftest = ['selftest', 'crash'];
/** Else a server that lives on may wait for bytes that its disk has never written. */
const killsAllFirst = '22';
/** A server is started and killed again and again: longer on a busy machine. */
const timeoutMs = 400_000;
const acknowledgedMin = 3_000;

test(
  `${rounds} kills lose nothing, double nothing and make nothing up`,
  async () => {
    await using directory = await temporaryDirectory();
    const data = join(directory.path, 'data');
    const ran = await millrace([...selftest, '--rounds', String(rounds), '--data', data, '--json']);
    const report = JSON.parse(ran.stdout.trim().split('\n').at(-1) ?? '') as CrashReport;

    expect(report.verdict, report.reasons.join('\n')).toBe('PASS');
    expect(ran.code).toBe(0);
    const none = { lost: 0, twice: 0, changed: 0, misplaced: 0, ghosts: 0 };
    expect(report.findings).toMatchObject(none);
    expect(report.serverErrors, 'no operator is needed').toEqual([]);
    for (const target of targets) {
      expect(report.kills[target].kills, target).toBeGreaterThanOrEqual(rounds / targets.length);
    }
    expect(report.acknowledged).toBeGreaterThan(acknowledgedMin);
    expect(await readdir(directory.path), 'the folder of the test is gone').toEqual([]);
  },
  timeoutMs,
);

test.skipIf(!existsSync('/proc/self/fd'))(
  'a server on a disk that lies is found out, and what it left is kept (needs /proc)',
  async () => {
    await using directory = await temporaryDirectory();
    const data = join(directory.path, 'data');
    const args = [...selftest, '--rounds', '1', '--seed', killsAllFirst, '--data', data, '--json'];
    const preload = new URL('../support/lying-disk.ts', import.meta.url).href;
    const ran = await millrace(args, { env: { NODE_OPTIONS: `--import ${preload}` } });
    const report = JSON.parse(ran.stdout.trim().split('\n').at(-1) ?? '') as CrashReport;

    expect(ran.code).toBe(1);
    expect(report.verdict).toBe('FAIL');
    expect(report.reasons.join('\n')).toContain('was acknowledged and is nowhere');
    expect(report.findings?.lost).toBeGreaterThan(0);
    expect(report.findings).toMatchObject({ twice: 0, changed: 0, misplaced: 0, ghosts: 0 });
    expect(await readdir(report.keptIn ?? '')).toContain('server.log');
  },
  timeoutMs,
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
