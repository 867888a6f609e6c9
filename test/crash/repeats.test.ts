import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Random } from '../support/random.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';

const rounds = 8;
const senders = 16;
const recordsMax = 5;

/** A batch with an id for each record, as a phone keeps it until it has its receipts. */
type Batch = { readonly path: string; readonly headers: Record<string, string>; body: string };

test('what is sent again after a kill is stored once, every batch whole or not', async () => {
  const random = new Random();
  const because = `seed ${random.seed}`;
  await using directory = await temporaryDirectory();
  const data = directory.path;
  const key = await createKey(data, 'crash');
  let sent = 0;
  let answered = 0;
  let repeated = 0;

  const next = (): Batch => {
    const count = random.integer(1, recordsMax);
    sent += 1;
    const records = Array.from({ length: count }, (_, part) => ({ batch: sent, part, count }));
    if (sent % 2 === 0) {
      const events = records.map((record) => ({ ...record, uuid: uuidOf(record) }));
      const headers = { Authorization: `TD1 ${key}` };
      return { path: '/crash/batches', headers, body: JSON.stringify({ events }) };
    }
    const headers = { 'X-TD-Write-Key': key, 'Idempotency-Key': `batch-${sent}` };
    const path = '/postback/v3/event/crash/batches';
    return { path, headers, body: JSON.stringify(records) };
  };

  /** Each sender goes on with the batch that was not answered. */
  const waiting = new Map<number, Batch>();
  const send = async (sender: number, ingest: string, isStopped: () => boolean) => {
    while (!isStopped()) {
      const again = waiting.get(sender);
      const batch = again ?? next();
      if (again) repeated += 1;
      waiting.set(sender, batch);
      const { path, headers, body } = batch;
      const status = await fetch(ingest + path, { method: 'POST', headers, body })
        .then((response) => response.status)
        .catch(() => 0);
      if (status === 0) return;
      expect(status, because).toBe(200);
      waiting.delete(sender);
      answered += 1;
    }
  };

  for (let round = 0; round < rounds; round += 1) {
    await using server = await TestServer.start(data, ['--edges', String(1 + (round % 2))]);
    let isStopped = false;
    const running = Array.from({ length: senders }, (_, sender) =>
      send(sender, server.ingest, () => isStopped),
    );
    await sleep(random.integer(100, 600));
    if (round < rounds - 1) await server.kill();
    isStopped = true;
    await Promise.all(running);
  }

  await using server = await TestServer.start(data);
  await server.flush();
  const [found] = await server.query(`
    SELECT count(*) AS rows, count(DISTINCT (batch, part)) AS records,
      count(DISTINCT batch) AS batches,
      (SELECT count(*) FROM millrace.quarantine) AS quarantined
    FROM crash.batches`);
  const partly = await server.query(
    'SELECT batch FROM crash.batches GROUP BY batch HAVING count(*) <> any_value(count)',
  );
  expect(partly, because).toEqual([]);
  expect(found?.rows, because).toBe(found?.records);
  expect(found, because).toMatchObject({ quarantined: 0, batches: answered });
  expect(answered, because).toBe(sent);
  expect(repeated, `${because}: the kills met open requests`).toBeGreaterThan(rounds);
});

function uuidOf({ batch, part }: { batch: number; part: number }): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  return `${hex(batch, 8)}-${hex(part, 4)}-4000-8000-000000000000`;
}
