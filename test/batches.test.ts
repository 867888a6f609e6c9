import { once } from 'node:events';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { Random } from './support/random.ts';
import { createKey, temporaryDirectory, TestServer } from './support/server.ts';

const random = new Random();
const [senders, batchesOfEach] = [12, 20];

const forms = ['whole', 'in pieces', 'gzip', 'array', 'with a bad line', 'broken off'] as const;
type Form = (typeof forms)[number];

// The memory of one batch is that of another soon after.
test(`large batches at once: each row is as it was sent (seed ${random.seed})`, async () => {
  await using directory = await temporaryDirectory();
  const key = await createKey(directory.path, 'shop');
  await using server = await TestServer.start(directory.path);
  const sent = { taken: new Set<number>(), open: new Set<number>() };
  let batches = 0;

  const sendMany = async () => {
    for (let turn = 0; turn < batchesOfEach; turn += 1) {
      const number = (batches += 1);
      const form = random.pick(forms);
      const status = await send(server, key, number, form, random.integer(1, 900));
      expect(status, form).toBe(form === 'with a bad line' ? 400 : form === 'broken off' ? 0 : 200);
      if (status !== 400) sent[status === 200 ? 'taken' : 'open'].add(number);
    }
  };
  await Promise.all(Array.from({ length: senders }, sendMany));
  await server.flush();

  // What stands in a row says of itself how it was sent.
  const rows = await server.query<{ batch: number; n: number; size: number; isSame: boolean }>(
    `SELECT batch::INTEGER AS batch, count(DISTINCT row)::INTEGER AS n, max(size)::INTEGER AS size,
       bool_and(pad = repeat(chr((97 + (batch * 31 + row) % 26)::INTEGER), len::INTEGER))
         AND count(*) = count(DISTINCT row) AS "isSame"
     FROM shop.events GROUP BY batch`,
  );
  expect(rows.filter(({ n, size, isSame }) => n !== size || !isSame)).toEqual([]);
  const stored = new Set(rows.map(({ batch }) => batch));
  expect([...sent.taken].filter((number) => !stored.has(number))).toEqual([]);
  expect([...stored].filter((number) => !sent.taken.has(number) && !sent.open.has(number))).toEqual(
    [],
  );
  expect(sent.taken.size).toBeGreaterThan(senders);
  const quarantined = await server.query('SELECT count(*)::INTEGER AS n FROM millrace.quarantine');
  expect(quarantined).toEqual([{ n: 0 }]);
});

function linesOf(batch: number, size: number): readonly string[] {
  return Array.from({ length: size }, (_, row) => {
    const len = 100 + ((batch * 7 + row) % 900);
    const pad = String.fromCharCode(97 + ((batch * 31 + row) % 26)).repeat(len);
    return JSON.stringify({ batch, row, size, len, pad });
  });
}

/** The status of the answer; 0 if the sender left before it. */
async function send(
  { ingest }: TestServer,
  key: string,
  batch: number,
  form: Form,
  size: number,
): Promise<number> {
  const lines = linesOf(batch, size);
  const text = form === 'array' ? `[${lines.join(',')}]` : lines.join('\n');
  const plain = Buffer.from(form === 'with a bad line' ? `${text}\n{"broken":` : text);
  const body = form === 'gzip' ? gzipSync(plain, { level: 1 }) : plain;
  const type = form === 'array' ? 'application/json' : 'application/x-ndjson';
  const headers = {
    'X-TD-Write-Key': key,
    'Content-Type': type,
    ...(form === 'gzip' ? { 'Content-Encoding': 'gzip' } : {}),
    ...(form === 'in pieces' ? {} : { 'Content-Length': body.length }),
  };
  const posted = request(`${ingest}/postback/v3/event/shop/events`, { method: 'POST', headers });
  const answered = once(posted, 'response').then(
    ([response]) => {
      response.resume();
      return response.statusCode as number;
    },
    () => 0,
  );
  const sentBytes = form === 'broken off' ? Math.floor(body.length / 2) : body.length;
  const pieceBytes = Math.ceil(body.length / (form === 'in pieces' ? 5 : 2));
  for (let at = 0; at < sentBytes; at += pieceBytes) {
    posted.write(body.subarray(at, at + pieceBytes));
    await sleep(1);
  }
  if (form === 'broken off') posted.destroy();
  else posted.end();
  return answered;
}
