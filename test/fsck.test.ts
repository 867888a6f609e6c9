import { cp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { receiptText } from '../src/event/index.ts';
import type { FsckReport } from '../src/fsck/index.ts';
import { Line, openLog } from './support/line.ts';
import { millrace, temporaryDirectory, TestServer } from './support/server.ts';
import { baseOf, find, flip, inAll, inFile, inLog, makeWhole, mend } from './support/whole.ts';
import { pathsIn, rowsIn, untouched } from './support/whole.ts';

/* `millrace fsck`: what is damaged is found and said, and a repair loses no more than that. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let whole: string;
let data: string;
let offsets: readonly number[] = [];

beforeAll(async () => {
  directory = await temporaryDirectory();
  whole = join(directory.path, 'whole');
  offsets = await makeWhole(join(directory.path, 'made'), whole);
});
afterAll(() => directory.remove());

const damageOf = ({ findings }: FsckReport) => findings.filter(({ level }) => level === 'damage');

beforeEach(async ({ task }) => {
  data = join(directory.path, task.id);
  await cp(whole, data, { recursive: true });
});

test('says that a whole data directory is whole, and changes nothing', async () => {
  const before = await pathsIn(data, '');
  const report = await find(data);
  expect(report).toMatchObject({ isWhole: true, findings: [], checked: { files: 2, tables: 1 } });
  expect(report.checked.records).toBeGreaterThanOrEqual(inLog);
  expect(await mend(data)).toMatchObject({ isWhole: true, findings: [], repair: undefined });
  expect(await pathsIn(data, '')).toEqual(before);
  expect(await rowsIn(data)).toEqual(untouched);
});

test('a damaged file of the lake: its rows are set aside, and nothing else', async () => {
  const [path = '', other = ''] = await pathsIn(data, '.parquet');
  await flip(path, (bytes) => bytes >> 1);
  const [found, ...more] = damageOf(await find(data));
  expect(found).toMatchObject({ part: 'lake', where: path.slice(data.length + 1) });
  expect(found?.covers).toContain(`${inFile} rows of shop.orders`);
  expect(more).toEqual([]);
  await rm(other);
  expect(damageOf(await find(data)).map(({ seen }) => seen)).toContain('it is not there');
  await cp(other.replace(data, whole), other);
  const damaged = await readFile(path);
  const { repair } = await mend(data);
  expect(await readFile(path.replace(data, repair?.kept ?? ''))).toEqual(damaged);
  expect(await find(data)).toMatchObject({ isWhole: true });
  const left = inAll - inFile;
  const less = { rows: left, different: left, right: left, dropped: inFile };
  expect(await rowsIn(data)).toEqual({ ...untouched, ...less });
});

test('damage in the log: the record is lost, those around it are loaded', async () => {
  const [hit = 0] = offsets.slice(3);
  const path = await segmentAt(hit);
  await flip(path, () => hit - baseOf(path) + 30);
  const [found, ...more] = damageOf(await find(data));
  expect(found?.where).toMatch(new RegExp(`^${receiptText(0, hit)} to `));
  expect(more).toEqual([]);
  const { repair, isWhole } = await mend(data);
  expect(isWhole).toBe(true);
  expect(await readdir(join(repair?.kept ?? '', 'log/0'))).toHaveLength(1);
  const left = inAll - 1;
  const less = { rows: left, different: left, right: left };
  expect(await rowsIn(data)).toEqual({ ...untouched, ...less });
});

test('a segment whose header is gone gets it back: nothing is lost', async () => {
  const path = await segmentAt(offsets[0] ?? 0);
  const bytes = await readFile(path);
  await writeFile(path, bytes.fill(0, 0, 80));
  const [found, ...more] = (await find(data)).findings;
  expect(found).toMatchObject({ level: 'note', seen: 'both headers are damaged' });
  expect(more).toEqual([]);
  await mend(data);
  expect(await find(data)).toMatchObject({ isWhole: true, findings: [] });
  expect(await rowsIn(data)).toEqual(untouched);
});

test('one copy of a header that is damaged is written anew', async () => {
  const path = await segmentAt(offsets[0] ?? 0);
  const sound = await readFile(path);
  await flip(path, () => 45);
  expect((await find(data)).findings).toMatchObject([{ part: 'log', level: 'note' }]);
  await mend(data);
  const [kept] = (await readdir(data)).filter((name) => name.startsWith('fsck-'));
  expect(await readdir(join(data, kept ?? '', 'log/0'))).toHaveLength(1);
  expect((await readFile(path)).subarray(40)).toEqual(sound.subarray(40));
  expect(await find(data)).toMatchObject({ findings: [] });
});

test('segments that are gone and were not loaded: it goes on where the log begins', async () => {
  const before = await pathsIn(data, '.seg');
  const log = await openLog(data, 0);
  await log.close();
  for (const path of before) await rm(path);
  const [found, ...more] = damageOf(await find(data));
  expect(found?.seen).toMatch(/^the log begins at \d+, and the store has loaded up to \d+ only$/);
  expect(more).toEqual([]);
  await expect(rowsIn(data)).rejects.toMatchObject({ code: 'LOG_DAMAGED' });
  expect(await mend(data)).toMatchObject({ isWhole: true });
  const left = inAll - inLog;
  const less = { rows: left, different: left, right: left };
  expect(await rowsIn(data)).toEqual({ ...untouched, ...less });
});

test('a log that is gone goes on behind what was loaded', async () => {
  await rm(join(data, 'log/0'), { recursive: true });
  const [found] = damageOf(await find(data));
  expect(found?.seen).toContain('the store has loaded up to');
  expect(await mend(data)).toMatchObject({ isWhole: true });
  const line = await Line.open(data);
  await line.append('{"n":-1}');
  await line.flush();
  const counts = await line.rows('SELECT count(*) FROM shop.orders');
  await line.close();
  expect(counts).toEqual([[inAll - inLog + 1]]);
});

test('a store that is gone is made anew of the lake and the log, each row once', async () => {
  await rm(join(data, 'store'), { recursive: true });
  const needed = await segmentAt(offsets[0] ?? 0);
  for (const path of await pathsIn(data, '.seg')) if (path < needed) await rm(path);
  expect(damageOf(await find(data))[0]).toMatchObject({ part: 'store' });
  const { repair } = await mend(data);
  expect(repair?.done.join('\n')).toContain(`a new store names 1 tables with ${2 * inFile} rows`);
  expect(await find(data)).toMatchObject({ isWhole: true, findings: [] });
  const found = await rowsIn(data);
  expect(found).toMatchObject({ dropped: 0, remainder: 0, different: found.rows });
  expect(found.rows).toBeGreaterThanOrEqual(2 * inFile + inLog);
});

test('what is in files and in the log is there once', async () => {
  await rm(join(data, 'store'), { recursive: true });
  const { repair } = await mend(data);
  expect(repair?.done.join('\n')).toContain(`${2 * inFile} of its events were in files already`);
  expect(await rowsIn(data)).toEqual(untouched);
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
  const after = await rowsIn(data);
  expect(after).toMatchObject({ remainder: 0, different: after.rows });
  await using server = await TestServer.start(data);
  const busy = await millrace(['fsck', '--data', data]);
  expect(busy).toMatchObject({ code: 1 });
  expect(busy.stderr).toContain('stop it first');
  await server.stop();
});

test('a broken keys file is said', async () => {
  await writeFile(join(data, 'keys.json'), '{');
  expect(damageOf(await find(data))).toMatchObject([{ part: 'keys', where: 'keys.json' }]);
});

async function segmentAt(offset: number): Promise<string> {
  return (await pathsIn(data, '.seg')).findLast((path) => baseOf(path) <= offset) ?? '';
}
