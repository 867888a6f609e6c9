import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { closedConfig, withRooms } from '../src/cli/door.ts';
import { Line } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';
import { find, mend } from './support/whole.ts';

/*
 * The power goes while the store is written: see test/crash/power.test.ts. Here the pieces that
 * are lost are chosen.
 */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
/** One checkpoint, and two transactions in the log of the store: the second one is not noted. */
let whole: string;
/** The file of the store after one more checkpoint, and the blocks that were kept before. */
let next: Buffer;
/** What notes the second transaction. */
let synced: Buffer;
let data: string;
let file: string;

const rows = 600;

beforeAll(async () => {
  directory = await temporaryDirectory();
  whole = join(directory.path, 'whole');
  const made = join(directory.path, 'made');
  await mkdir(made);
  const line = await Line.open(made);
  line.loader.keepLog();
  await load(line, 0);
  await line.reopen();
  line.loader.keepLog();
  await load(line, 200);
  const noted = 'store/millrace-1.duckdb.synced';
  const before = await readFile(join(made, noted));
  await load(line, 400);
  synced = await readFile(join(made, noted));
  await cp(made, whole, { recursive: true });
  await writeFile(join(whole, noted), before);
  await line.close();
  next = await readFile(join(made, 'store/millrace-1.duckdb'));
  const kept = 'store/millrace-1.duckdb.blocks';
  await cp(join(made, kept), join(whole, kept));
});
afterAll(() => directory.remove());
beforeEach(async ({ task }) => {
  data = join(directory.path, task.id);
  await cp(whole, data, { recursive: true });
  file = join(data, 'store/millrace-1.duckdb');
});

async function load(line: Line, first: number): Promise<void> {
  const bodies = Array.from({ length: 200 }, (_, n) => {
    // Long ones fill whole sectors with words that are equal.
    return JSON.stringify({ n: first + n, s: '#'.repeat(n % 10 === 0 ? 3_000 : 1) });
  });
  await line.submit([{ bodies }]);
  await line.flush();
}

/** How a transaction ends, in the log of the store. */
const flush = Buffer.from('0500000000000000e7fe7d722fed3d5e640064ffff', 'hex');

/** Changes a sector of a transaction: the last one, or one before. */
async function change(back: number, how: (sector: Buffer) => unknown): Promise<void> {
  const log = `${file}.wal`;
  const bytes = await readFile(log);
  let end = bytes.length;
  for (let n = 0; n < back; n += 1) end = startOf(bytes, end);
  const at = Math.ceil(startOf(bytes, end) / 512) * 512;
  expect(at + 512, 'a transaction of some sectors').toBeLessThan(end);
  how(bytes.subarray(at, at + 512));
  await writeFile(log, bytes);
}

function startOf(log: Buffer, end: number): number {
  const before = log.lastIndexOf(flush, end - flush.length - 1);
  return before < 0 ? 0 : before + flush.length;
}

/** Zeros instead of a sector of equal words, which the engine's checksums do not see. */
async function loseEqualWords(): Promise<void> {
  const log = `${file}.wal`;
  const bytes = await readFile(log);
  let at = Math.ceil(startOf(bytes, bytes.length) / 512) * 512;
  while (!bytes.subarray(at, at + 512).equals(Buffer.alloc(512, '#'))) at += 512;
  await writeFile(log, bytes.fill(0, at, at + 512));
}

/** The file in the middle of a checkpoint: the old headers, and the end of a block is still old. */
async function tearBlock(): Promise<void> {
  const before = await readFile(file);
  const torn = Buffer.from(next);
  before.copy(torn, 0, 0, 12_288);
  let count = 0;
  for (let at = 12_288; at < before.length; at += 16_384) {
    const place = at + 8_192;
    if (before.subarray(place, at + 16_384).equals(next.subarray(place, at + 16_384))) continue;
    before.copy(torn, place, place, at + 16_384);
    count += 1;
  }
  expect(count).toBeGreaterThan(0);
  await writeFile(file, torn);
}

const whatIsThere = async (): Promise<unknown> => {
  return withRooms(closedConfig(data), async ({ store }) => {
    const reader = await store.reader();
    const sql = `SELECT count(*)::INTEGER, count(DISTINCT n)::INTEGER,
      count(*) FILTER (s = '#' OR s = repeat('#', 3000))::INTEGER FROM shop.orders`;
    const found: unknown[] = [];
    for await (const some of (await reader.select(sql)).rows) found.push(...some);
    reader.close();
    return found;
  });
};
const everything = [[rows, rows, rows]];

const tears: readonly [string, () => Promise<void>][] = [
  ['a transaction that was being synced', () => change(0, (sector) => sector.fill(0))],
  ['pieces of it that the engine does not miss', loseEqualWords],
  ['a block that a checkpoint was writing', tearBlock],
];

test.each(tears)('a start puts right: %s', async (_, tear) => {
  await tear();
  expect(await whatIsThere()).toEqual(everything);
  // And again: nothing is put back twice.
  expect(await whatIsThere()).toEqual(everything);
});

test.each(tears)('fsck says and puts right: %s', async (_, tear) => {
  await tear();
  const { findings, isWhole } = await find(data);
  expect([isWhole, findings.map(({ remedy }) => /start a server/.test(remedy))]).toEqual([
    false,
    [true],
  ]);
  expect(await mend(data)).toMatchObject({ isWhole: true });
  expect(await find(data)).toMatchObject({ isWhole: true, findings: [] });
  expect(await whatIsThere()).toEqual(everything);
});

const flip = (sector: Buffer) => sector.writeUInt8(sector.readUInt8(100) ^ 0x41, 100);

test('a transaction that was not synced is loaded again, whole as it may be', async () => {
  expect(await whatIsThere()).toEqual(everything);
});

test.each<[string, number, (sector: Buffer) => unknown]>([
  ['a byte of the last transaction', 0, flip],
  ['a sector of it', 0, (sector) => sector.fill(0)],
  ['a sector of one before', 1, (sector) => sector.fill(0)],
])('what is damage is still told: %s', async (_, back, damage) => {
  await writeFile(`${file}.synced`, synced);
  await change(back, damage);
  await expect(whatIsThere()).rejects.toThrow(/damaged/);
});

test('what a killed process has left without a name goes at a start', async () => {
  const left = `${file}.blocks.4711.tmp`;
  await writeFile(left, 'half');
  expect(await whatIsThere()).toEqual(everything);
  await expect(readFile(left)).rejects.toMatchObject({ code: 'ENOENT' });
});
