import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createKey, millrace, temporaryDirectory, TestServer } from '../support/server.ts';

/* What a sender sends does not command the terminal of whoever looks at it. */

const program = fileURLToPath(new URL('../../bin/millrace.js', import.meta.url));

/** What a command writes to a terminal. */
function onTerminal(args: readonly string[]): string {
  const command = [process.execPath, program, ...args].map((word) => `'${word}'`).join(' ');
  const ran = spawnSync('script', ['-qec', command, '/dev/null'], { encoding: 'utf8' });
  if (ran.error) throw ran.error;
  return ran.stdout;
}

test('no event in quarantine, no cell, no error that quotes one', async () => {
  await using directory = await temporaryDirectory();
  const data = directory.path;
  const key = await createKey(data, 'shop');
  await using server = await TestServer.start(data);
  const csi = '\u009b31m';
  const parked = await server.post('shop/orders', `{"a":"${csi}"}`, { 'X-TD-Write-Key': '1/none' });
  await server.post('shop/orders', { a: '\u001b]0;owned\u0007' }, { 'X-TD-Write-Key': key });
  await server.flush();
  const receipt = parked.headers.get('x-millrace-receipt') ?? '';
  const shown = onTerminal(['quarantine', 'show', receipt, '--data', data]);
  expect(shown).toContain('{"a":"\\u009b31m"}');
  expect(shown).not.toContain(csi);
  // Elsewhere the bytes are exact.
  const bytes = await millrace(['quarantine', 'show', receipt, '--data', data]);
  expect(bytes.stdout).toContain(`{"a":"${csi}"}`);
  const table = await millrace(['query', 'SELECT body FROM millrace.quarantine', '--data', data]);
  expect(table.stdout).toContain('{"a":"\\u009b31m"}');
  const sql = 'SELECT a::INTEGER FROM shop.orders';
  const failed = await millrace(['query', sql, '--data', data]);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain('\\u001b]0;owned\\u0007');
  expect(failed.stderr).not.toContain('\u001b]');
});
