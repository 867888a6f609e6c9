import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { temporaryDirectory, TestServer } from './support/server.ts';

function fingerprintOf(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

test('authentication failures are raised: in the log, once for each key, and in SQL', async () => {
  await using directory = await temporaryDirectory();
  await using server = await TestServer.start(directory.path);
  const post = (key: string) => server.post('shop/orders', {}, { 'X-TD-Write-Key': key });
  for (let count = 0; count < 30; count += 1) {
    await post('1/typo');
    await post(`1/scan${count}`);
  }
  await server.flush();
  const lines = server.stderr().split('\n');
  const raised = lines.filter((line) => line.includes('authentication failure: '));
  expect(raised).toHaveLength(20);
  expect(raised.filter((line) => line.includes(fingerprintOf('1/typo')))).toHaveLength(1);
  expect(raised[0]).toContain('"level":"warn"');
  expect(server.stderr()).not.toContain('1/typo');
  const [worst, ...others] = await server.query(
    `SELECT key_fingerprint, reason, "database", "table", events
     FROM millrace.auth_failures ORDER BY events DESC`,
  );
  expect(worst).toEqual({
    key_fingerprint: fingerprintOf('1/typo'),
    reason: 'unknown_key',
    database: 'shop',
    table: 'orders',
    events: 30,
  });
  expect(others).toHaveLength(30);
});
