import { expect, test } from 'vitest';
import { pathHashAt } from '../src/edge/strict.ts';
import { encodeSubmission, fingerprintOf, SingleHead } from '../src/event/index.ts';
import { RawConnection } from './support/raw-connection.ts';
import { requestBytes } from './support/requests.ts';
import { createKey, temporaryDirectory, TestServer } from './support/server.ts';

const first = 't000000';

/**
 * Two names of tables that make a hash of some bytes the same; most likely there is such a pair
 * among the first 80,000.
 * @param bytes hold `first`
 */
function twoAlike(bytes: Buffer, hash: (bytes: Buffer) => number): readonly [string, string] {
  const at = bytes.indexOf(first);
  const seen = new Map<number, string>();
  for (let count = 0; ; count += 1) {
    const table = `t${count.toString(36).padStart(first.length - 1, '0')}`;
    bytes.write(table, at);
    const found = hash(bytes);
    const other = seen.get(found);
    if (other !== undefined) return [other, table];
    seen.set(found, table);
  }
}

// What senders can make alike is compared before it is taken for the same.
test('tables whose names have one hash keep their events apart', async () => {
  await using directory = await temporaryDirectory();
  const key = await createKey(directory.path, 'shop');
  await using server = await TestServer.start(directory.path);
  const requestFor = (table: string, n: number) =>
    requestBytes({ path: `/shop/${table}`, body: JSON.stringify({ table, n }) }, key);
  const record = encodeSubmission({
    dialect: 'postback',
    receivedAtMs: 0,
    fingerprint: fingerprintOf(key),
    context: {},
    groups: [{ database: 'shop', table: first, bodies: [Buffer.from('{}')] }],
  });
  const tables = [
    ...twoAlike(requestFor(first, 0), (bytes) => pathHashAt(bytes, 0)),
    ...twoAlike(record, (bytes) => SingleHead.hashAt(bytes, 0)),
  ];

  const eventsOfEach = 50;
  using connection = await RawConnection.open(server.ingest);
  for (let n = 0; n < eventsOfEach; n += 1) {
    for (const table of tables) {
      connection.send(requestFor(table, n));
      expect((await connection.response())?.status).toBe(200);
    }
  }
  await server.flush();

  for (const table of tables) {
    const [found] = await server.query(`
      SELECT count(*)::INTEGER AS rows, count(DISTINCT n)::INTEGER AS events,
        count(*) FILTER ("table" = '${table}')::INTEGER AS own FROM shop."${table}"`);
    expect(found).toEqual({ rows: eventsOfEach, events: eventsOfEach, own: eventsOfEach });
  }
});
