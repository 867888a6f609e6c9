import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { decodeSubmission, isErased, parseReceipt, type Receipt } from '../src/event/index.ts';
import { kept, Line, type RawParts, receivedAtMs } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* The exact bytes of events, kept after they were loaded. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let line: Line;
const segmentBytes = 500;
const open = async (raw: RawParts = { rawDays: 30 }) => {
  line = await Line.open(directory.path, undefined, kept, { segmentBytes, ...raw });
};
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(async () => {
  await line.close();
  await directory.remove();
});

const count = 40;
const body = (n: number) => JSON.stringify({ n, text: 'x'.repeat(n % 7) });

async function load(from = 0): Promise<void> {
  for (let n = from; n < from + count; n += 2) {
    await line.append(body(n));
    await line.submit([{ bodies: [body(n + 1)] }, { table: 'other', bodies: [body(n)] }]);
  }
  await line.flush();
}

async function names(folder: 'log' | 'raw'): Promise<readonly string[]> {
  const found = await readdir(join(directory.path, folder, '0')).catch(() => []);
  return found.filter((name) => name.includes('.seg')).sort();
}

/** Every segment but the last one is where it is to be. */
const settled = () => expect.poll(() => names('log'), { timeout: 20_000 }).toHaveLength(1);

/** What is kept, by receipt. */
async function events(): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const records = await line.loader.raw.records(0);
  for await (const batch of records.read(records.firstOffset, line.log.durableOffset)) {
    expect(batch.damage).toEqual([]);
    for (const { offset, record } of batch.records) {
      for (const { at, postback } of decodeSubmission(record)) {
        const receipt = `0-${String(offset + at).padStart(15, '0')}`;
        found.set(receipt, isErased(postback.body) ? '' : postback.body.toString());
      }
    }
  }
  await records.close();
  return found;
}

const receipts = async () => {
  const sql = `SELECT _receipt, n FROM shop.orders UNION ALL
    SELECT _receipt, n FROM shop.other ORDER BY _receipt`;
  return new Map((await line.rows(sql)).map(([receipt, n]) => [receipt as string, Number(n)]));
};

test('a receipt finds the bytes of its event, in the log and after it', async () => {
  await open();
  await load();
  await settled();
  expect((await names('raw')).length).toBeGreaterThan(5);
  const rows = await receipts();
  const found = await events();
  expect(rows.size).toBe(1.5 * count);
  expect([...found.keys()]).toEqual([...rows.keys()]);
  for (const [receipt, text] of found) expect(text).toBe(body(rows.get(receipt) ?? -1));
  const { bytes, sinceMs } = line.loader.status().raw;
  expect(bytes).toBeGreaterThan(500);
  await expect.poll(() => line.loader.status().raw.sinceMs).toBe(receivedAtMs);
  expect([undefined, receivedAtMs]).toContain(sinceMs);
  await line.reopen();
  expect(await events()).toEqual(found);
});

test('without the setting nothing is kept; what was kept before stays', async () => {
  await open({ rawDays: 0 });
  await load();
  await settled();
  expect(await names('raw')).toEqual([]);
  await line.close();
  await open();
  await load(100);
  await settled();
  const before = await names('raw');
  expect(before.length).toBeGreaterThan(5);
  await line.close();
  await open({ rawDays: 0 });
  await load(200);
  await settled();
  expect(await names('raw')).toEqual(before);
});

test('a command on a closed directory keeps what a server would', async () => {
  await open();
  await load();
  await settled();
  const before = await names('raw');
  await line.close();
  await open({});
  await load(100);
  await settled();
  expect((await names('raw')).length).toBeGreaterThan(before.length);
});

test('what is older than its days goes', async () => {
  await open();
  await load();
  await settled();
  const [first = '', ...others] = await names('raw');
  await line.loader.close();
  await line.store.close();
  const old = Date.now() - 31 * 86_400_000;
  const folder = join(directory.path, 'raw', '0');
  await rename(join(folder, first), join(folder, first.replace(/-\d{13}/, `-${old}`)));
  await line.openAgain();
  await expect.poll(() => names('raw'), { timeout: 20_000 }).toEqual(others);
});

test('bodies are erased, those of a request of many too; the rest is as it was', async () => {
  await open();
  await load();
  await settled();
  const found = await events();
  const meant = [...found.keys()].filter((_, index) => index % 5 === 0);
  const base = Number((await names('log'))[0]?.slice(0, 20));
  const places = meant.map((receipt) => parseReceipt(receipt) as Receipt);
  const inRaw = places.filter(({ offset }) => offset < base).length;
  expect(inRaw).toBeGreaterThan(5);
  expect(await line.loader.raw.erase(places)).toBe(inRaw);
  expect(await line.loader.raw.erase(places)).toBe(0);
  const expected = [...found].map(([receipt, text]) => {
    const isMeant = meant.includes(receipt) && (parseReceipt(receipt)?.offset ?? 0) < base;
    return [receipt, isMeant ? '' : text];
  });
  expect([...(await events())]).toEqual(expected);
});

test('without room the oldest go, and loading goes on', async () => {
  await open();
  await load();
  await settled();
  await line.loader.close();
  await line.store.close();
  await line.openAgain(Number.MAX_SAFE_INTEGER);
  await expect.poll(() => names('raw'), { timeout: 20_000 }).toEqual([]);
  await load(100);
  await settled();
  expect(await names('raw')).toEqual([]);
  expect((await receipts()).size).toBe(3 * count);
});
