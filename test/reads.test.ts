import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Random } from './support/random.ts';
import { RawConnection } from './support/raw-connection.ts';
import { requestBytes } from './support/requests.ts';
import { createKey, temporaryDirectory, TestServer } from './support/server.ts';

const random = new Random();
const [senders, eventsOfEach] = [24, 150];

// All connections of an edge are read into the same memory.
test(`what one sends is never another's (seed ${random.seed})`, async () => {
  await using directory = await temporaryDirectory();
  const strict = ['--strict-key'];
  const keys = [
    await createKey(directory.path, 'shop'),
    await createKey(directory.path, 'shop', strict),
  ] as const;
  await using server = await TestServer.start(directory.path);

  const requests = (sender: number) =>
    Array.from({ length: eventsOfEach }, (_, n) => {
      const length = random.chance(10) ? 20_000 : 400;
      const pad = `${sender}-${n} `.repeat(random.integer(1, length / 8));
      // What is read in passing, what is read with care, and what Node reads.
      const headers = random.chance(30) ? [`Idempotency-Key: ${sender}-${n}`] : [];
      if (n === eventsOfEach - 1) headers.push('Expect: nothing');
      const body = JSON.stringify({ sender, n, length: pad.length, pad });
      return requestBytes({ path: '/shop/reads', headers, body }, random.pick(keys));
    });

  const send = async (sender: number) => {
    using connection = await RawConnection.open(server.ingest);
    const left = requests(sender);
    while (left.length > 0) {
      const some = left.splice(0, random.integer(1, 10));
      let bytes = Buffer.concat(some);
      while (bytes.length > 0) {
        const piece = bytes.subarray(0, random.integer(1, 3_000));
        bytes = bytes.subarray(piece.length);
        connection.send(piece);
        if (random.chance(50)) await setImmediate();
      }
      for (const _ of some) expect((await connection.response())?.status).toBe(200);
    }
  };
  await Promise.all(Array.from({ length: senders }, (_, sender) => send(sender)));
  await server.flush();

  // What stands in a row says of itself how it was sent.
  const [rows] = await server.query(
    `SELECT count(*)::INTEGER AS rows, count(DISTINCT (sender, n))::INTEGER AS events,
       count(*) FILTER (pad = left(repeat(sender || '-' || n || ' ', 20000), length::INTEGER))
         ::INTEGER AS same
     FROM shop.reads`,
  );
  const all = senders * eventsOfEach;
  expect(rows).toEqual({ rows: all, events: all, same: all });
});
