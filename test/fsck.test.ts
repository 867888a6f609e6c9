import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { patient } from '../src/base/index.ts';
import { closedConfig, withRooms } from '../src/cli/door.ts';
import { receiptText } from '../src/event/index.ts';
import { fsck, type FsckReport, type Load } from '../src/fsck/index.ts';
import { Line } from './support/line.ts';
import { millrace, temporaryDirectory, TestServer } from './support/server.ts';

/* `millrace fsck`: what is damaged is found and said, and a repair loses no more than that. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
/** Rows in two files, in the store alone, in the log alone; one event in quarantine. */
let whole: string;
const [inFile, inStore, inLog] = [100, 60, 10];
let offsets: readonly number[] = [];

beforeAll(async () => {
  directory = await temporaryDirectory();
  whole = join(directory.path, 'whole');
  await mkdir(whole);
  const line = await Line.open(whole, undefined, undefined, { segmentBytes: 4_000 });
  // So that a test can choose what is there yet.
  line.loader.keepLog();
  let n = 0;
  const append = (count: number) => {
    const bodies = Array.from({ length: count }, () => {
      n += 1;
      return JSON.stringify({ n, s: `text ${n}` });
    });
    return line.submit([{ bodies }]);
  };
  for (let file = 0; file < 2; file += 1) {
    await append(inFile);
    await line.flush();
    await line.loader.archivist.archive({ database: 'shop', table: 'orders' });
  }
  await append(inStore);
  await line.append('{"p":1}', { key: '1/nobody' });
  await line.flush();
  await line.loader.close();
  await line.store.close();
  const own: number[] = [];
  for (let one = 0; one < inLog; one += 1) own.push(await append(1));
  offsets = own;
  await line.log.close();
});
afterAll(() => directory.remove());

async function flip(path: string, at: (bytes: number) => number): Promise<void> {
  const bytes = await readFile(path);
  const byte = at(bytes.length);
  bytes.writeUInt8(bytes.readUInt8(byte) ^ 0x41, byte);
  await writeFile(path, bytes);
}

const load: Load = (use) => {
  return withRooms(closedConfig(data), ({ store, loader }) => {
    return use({ store, alone: (work) => loader.archivist.alone(work) });
  });
};
let data: string;

const find = () => fsck(data, undefined, patient);
const mend = () => fsck(data, load, patient);

const damageOf = ({ findings }: FsckReport) => findings.filter(({ level }) => level === 'damage');

/** What there is when all is loaded, and whether the books come out even. */
async function rowsNow() {
  return withRooms(closedConfig(data), async ({ store }) => {
    const reader = await store.reader();
    const { rows } = await reader.select(`SELECT count(*), count(DISTINCT n),
      (SELECT count(*) FROM millrace.quarantine),
      (SELECT coalesce(sum(dropped), 0) FROM millrace.ledger),
      (SELECT sum(remainder) FROM millrace.ledger) FROM shop.orders`);
    const all: (readonly unknown[])[] = [];
    for await (const some of rows) all.push(...some);
    reader.close();
    const [count, different, parked, dropped, remainder] = all[0] ?? [];
    return { rows: Number(count), different, parked, dropped, remainder };
  });
}

const all = 2 * inFile + inStore + inLog;
const right = { rows: all, different: all, parked: 1, dropped: 0, remainder: 0 };

async function pathsIn(ending: string): Promise<readonly string[]> {
  const names = await readdir(data, { recursive: true });
  const ours = names.filter((name) => name.endsWith(ending) && !/^fsck|\/\./.test(name));
  return ours.sort().map((name) => join(data, name));
}

beforeEach(async ({ task }) => {
  data = join(directory.path, task.id);
  await cp(whole, data, { recursive: true });
});

test('says that a whole data directory is whole, and changes nothing', async () => {
  const before = await pathsIn('');
  const report = await find();
  expect(report).toMatchObject({ isWhole: true, findings: [], checked: { files: 2, tables: 1 } });
  expect(report.checked.records).toBeGreaterThanOrEqual(inLog);
  expect(await mend()).toMatchObject({ isWhole: true, findings: [], repair: undefined });
  expect(await pathsIn('')).toEqual(before);
  expect(await rowsNow()).toEqual(right);
});

test('a damaged file of the lake: its rows are set aside, and nothing else', async () => {
  const [path = '', other = ''] = await pathsIn('.parquet');
  await flip(path, (bytes) => bytes >> 1);
  const [found, ...more] = damageOf(await find());
  expect(found).toMatchObject({ part: 'lake', where: path.slice(data.length + 1) });
  expect(found?.covers).toContain(`${inFile} rows of shop.orders`);
  expect(more).toEqual([]);
  await rm(other);
  expect(damageOf(await find()).map(({ seen }) => seen)).toContain('it is not there');
  await cp(other.replace(data, whole), other);
  const damaged = await readFile(path);
  const { repair } = await mend();
  expect(await readFile(path.replace(data, repair?.kept ?? ''))).toEqual(damaged);
  expect(await find()).toMatchObject({ isWhole: true });
  const left = all - inFile;
  expect(await rowsNow()).toEqual({ ...right, rows: left, different: left, dropped: inFile });
});

test('damage in the log: the record is lost, those around it are loaded', async () => {
  const [hit = 0] = offsets.slice(3);
  const path = await segmentAt(hit);
  await flip(path, () => hit - baseOf(path) + 30);
  const [found, ...more] = damageOf(await find());
  expect(found?.where).toMatch(new RegExp(`^${receiptText(0, hit)} to `));
  expect(more).toEqual([]);
  const { repair, isWhole } = await mend();
  expect(isWhole).toBe(true);
  expect(await readdir(join(repair?.kept ?? '', 'log/0'))).toHaveLength(1);
  expect(await rowsNow()).toEqual({ ...right, rows: all - 1, different: all - 1 });
});

test('a segment whose header is gone gets it back: nothing is lost', async () => {
  const path = await segmentAt(offsets[0] ?? 0);
  const bytes = await readFile(path);
  await writeFile(path, bytes.fill(0, 0, 80));
  const [found] = damageOf(await find());
  expect(found?.remedy).toContain('finds the header by its frames');
  await mend();
  expect(await find()).toMatchObject({ isWhole: true, findings: [] });
  expect(await rowsNow()).toEqual(right);
});

test('a log that is gone goes on behind what was loaded', async () => {
  await rm(join(data, 'log/0'), { recursive: true });
  const [found] = damageOf(await find());
  expect(found?.seen).toContain('the store has loaded up to');
  expect(await mend()).toMatchObject({ isWhole: true });
  const line = await Line.open(data);
  await line.append('{"n":-1}');
  await line.flush();
  const counts = await line.rows('SELECT count(*) FROM shop.orders');
  await line.close();
  expect(counts).toEqual([[all - inLog + 1]]);
});

test('a store that is gone is made anew of the lake and the log, each row once', async () => {
  await rm(join(data, 'store'), { recursive: true });
  const needed = await segmentAt(offsets[0] ?? 0);
  for (const path of await pathsIn('.seg')) if (path < needed) await rm(path);
  expect(damageOf(await find())[0]).toMatchObject({ part: 'store' });
  const { repair } = await mend();
  expect(repair?.done.join('\n')).toContain(`a new store names 1 tables with ${2 * inFile} rows`);
  expect(await find()).toMatchObject({ isWhole: true, findings: [] });
  const found = await rowsNow();
  expect(found).toMatchObject({ dropped: 0, remainder: 0, different: found.rows });
  expect(found.rows).toBeGreaterThanOrEqual(2 * inFile + inLog);
});

test('what is in files and in the log is there once', async () => {
  await rm(join(data, 'store'), { recursive: true });
  const { repair } = await mend();
  expect(repair?.done.join('\n')).toContain(`${2 * inFile} of its events were in files already`);
  expect(await rowsNow()).toEqual(right);
});

test('the command prints what it found, and its exit code says whether it is whole', async () => {
  const path = join(data, 'store/millrace-1.duckdb');
  const sound = await millrace(['fsck', '--data', data]);
  expect(sound).toMatchObject({ code: 0 });
  expect(sound.stdout).toContain('everything is what was written');
  await truncate(path, 20_000);
  const refused = await millrace(['serve', '--data', data, '--port', '0', '--admin-port', '0']);
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toContain('the store is damaged');
  expect(refused.stderr).toContain('millrace fsck --repair');
  const found = await millrace(['fsck', '--data', data]);
  expect(found).toMatchObject({ code: 2 });
  expect(found.stdout).toContain('damage  store  store/millrace-1.duckdb');
  const mended = await millrace(['fsck', '--data', data, '--repair', '--json']);
  expect(mended).toMatchObject({ code: 0 });
  const report = JSON.parse(mended.stdout.trimEnd().split('\n').at(-1) ?? '') as FsckReport;
  const kept = join(report.repair?.kept ?? '', 'store/millrace-1.duckdb');
  expect((await readFile(kept)).length).toBe(20_000);
  const after = await rowsNow();
  expect(after).toMatchObject({ remainder: 0, different: after.rows });
  await using server = await TestServer.start(data);
  const busy = await millrace(['fsck', '--data', data]);
  expect(busy).toMatchObject({ code: 1 });
  expect(busy.stderr).toContain('stop it first');
  await server.stop();
});

test('a broken keys file is said', async () => {
  await writeFile(join(data, 'keys.json'), '{');
  expect(damageOf(await find())).toMatchObject([{ part: 'keys', where: 'keys.json' }]);
});

async function segmentAt(offset: number): Promise<string> {
  return (await pathsIn('.seg')).findLast((path) => baseOf(path) <= offset) ?? '';
}

function baseOf(path: string): number {
  return Number.parseInt(path.slice(-24, -4), 10);
}
