import { hash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { backup } from '../src/backup/index.ts';
import { crcsOf, damageIn, limits, patient } from '../src/base/index.ts';
import { withStoreFile } from '../src/store/inspect.ts';
import type { StoredTable } from '../src/store/views.ts';
import { Line } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* A byte of a file that has changed: nothing is made of the file as if it were whole. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let line: Line;
beforeEach(async () => {
  directory = await temporaryDirectory();
  const data = join(directory.path, 'data');
  await mkdir(data);
  line = await Line.open(data);
  for (let n = 0; n < 3; n += 1) {
    const bodies = Array.from({ length: 50 }, (_, i) => JSON.stringify({ n, i, s: `text ${i}` }));
    await line.submit([{ bodies }]);
    await line.flush();
    await line.loader.archivist.archive({ database: 'shop', table: 'orders' });
  }
});
afterEach(async () => {
  await line.close();
  await directory.remove();
});

const files = () => (line.store.schema('shop', 'orders') as StoredTable).files;
const sums = 'SELECT count(*), sum(n), sum(i::BIGINT), count(DISTINCT s) FROM shop.orders';

const changes = {
  compact: () =>
    line.loader.archivist.alone((between) => {
      return line.store.lake.compact('shop', 'orders', files(), between);
    }),
  'set-type': () => line.loader.retype('shop', 'orders', 'i', 'VARCHAR'),
  erase: () => line.loader.erasing.erase({ database: 'shop', table: 'orders' }, 'i < 10', false),
  backup: () => {
    const { store, loader, log, data } = line;
    const hear = () => Promise.resolve(loader.durable(0, log.mark));
    const asked = { directory: join(directory.path, 'kept'), verify: false };
    return backup({ dataDirectory: data, store, loader, hear }, asked, patient);
  },
};

/** Changes one byte of the second file; another call mends it. */
async function flip(
  at: (size: number) => number,
  path = line.store.lake.files[1]?.path ?? '',
): Promise<string> {
  const place = join(line.store.lake.directory, path);
  const bytes = await readFile(place);
  const byte = at(bytes.length);
  bytes.writeUInt8(bytes.readUInt8(byte) ^ 0x10, byte);
  await writeFile(place, bytes);
  return path;
}

test.each(Object.entries(changes))(
  '%s names a damaged file and makes nothing of it',
  async (_, run) => {
    // In the values of a column, where the engine sees nothing wrong or says something of its own.
    const path = await flip(() => 60);
    await expect(run()).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    await expect(run()).rejects.toThrow(`${path} is not what was written`);
    // An erasure goes file by file.
    expect(line.store.lake.files.map((file) => file.path)).toContain(path);
    expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
    await flip(() => 60, path);
    await run();
    expect((await line.rows(sums))[0]?.[1]).toBeGreaterThan(0);
  },
);

test('every change of one byte is found, and by a start too', async () => {
  await line.reopen();
  for (let tenth = 0; tenth < 10; tenth += 1) {
    const at = (size: number) => Math.floor((size * (2 * tenth + 1)) / 20);
    await flip(at);
    await expect(changes.compact()).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    await flip(at);
  }
  await changes.compact();
  expect(await line.rows(sums)).toEqual([[150, 150, 3 * 1225, 50]]);
  await changes.compact();
});

test('files of an earlier version, without checksums, are taken as they are', async () => {
  await line.loader.close();
  await line.store.close();
  await withStoreFile(line.data, 'READ_WRITE', (engine) => {
    return engine.run('ALTER TABLE mr.files DROP COLUMN crcs');
  });
  await line.openAgain();
  expect(files().map(({ crcs }) => crcs)).toEqual([[], [], []]);
  await changes.compact();
  expect(files().map(({ crcs }) => crcs.length)).toEqual([1]);
  expect(await line.rows(sums)).toEqual([[150, 150, 3 * 1225, 50]]);
});

test('rows in whole parts of a damaged file can be kept', async () => {
  const [events, group] = [130_000, 122_880];
  for (let n = 0; n < events; n += 10_000) {
    const bodies = Array.from({ length: 10_000 }, (_, i) => {
      return JSON.stringify({ n: n + i, s: hash('md5', String(n + i)) });
    });
    await line.submit([{ table: 'visits', bodies }]);
  }
  await line.flush();
  await line.loader.archivist.archive({ database: 'shop', table: 'visits' });
  const { lake } = line.store;
  const [file] = lake.files.filter(({ path }) => path.startsWith('shop/visits'));
  expect(file?.crcs.length).toBeGreaterThan(8);
  // In the first of two groups of rows, so that the second one stays.
  const place = join(lake.directory, file?.path ?? '');
  const bytes = await readFile(place);
  bytes.fill(0xff, 1_000, 1_008);
  await writeFile(place, bytes);
  const damage = damageIn(file?.crcs ?? [], crcsOf(bytes), bytes.length);
  expect(damage).toHaveLength(1);
  const done = await line.loader.archivist.alone((between) => {
    return lake.salvage(file?.path ?? '', damage, between);
  });
  expect(done).toEqual({ kept: events - group, lost: group });
  const counts =
    'SELECT count(*), count(DISTINCT n), count(*) FILTER (s = md5(n::VARCHAR)) FROM shop.visits';
  expect(await line.rows(counts)).toEqual([Array(3).fill(events - group)]);
  expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
});

test('damage is located by pieces', () => {
  const bytes = Buffer.alloc(2.5 * limits.pieceBytes, 'x');
  const crcs = crcsOf(bytes);
  expect(damageIn(crcs, crcsOf(bytes), bytes.length)).toEqual([]);
  for (const at of [0, limits.pieceBytes - 1, limits.pieceBytes, bytes.length - 1]) {
    bytes[at] = 0;
    const from = Math.floor(at / limits.pieceBytes) * limits.pieceBytes;
    const to = Math.min(bytes.length, from + limits.pieceBytes);
    expect(damageIn(crcs, crcsOf(bytes), bytes.length)).toEqual([{ from, to }]);
    bytes.fill('x');
  }
  const cut = crcsOf(bytes.subarray(0, limits.pieceBytes));
  expect(damageIn(crcs, cut, bytes.length)).toHaveLength(2);
});
