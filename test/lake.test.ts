import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { asyncBufferFromFile, parquetMetadataAsync } from 'hyparquet';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLogger, limits, Metrics, systemClock } from '../src/base/index.ts';
import { Archivist } from '../src/loader/archivist.ts';
import { filesToMerge } from '../src/store/chores.ts';
import type { LakeFile } from '../src/store/index.ts';
import type { StoredTable } from '../src/store/views.ts';
import { Line, receivedAtMs } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* Rows in files are rows like all others. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let line: Line;
beforeEach(async () => {
  directory = await temporaryDirectory();
  line = await Line.open(directory.path);
});
afterEach(async () => {
  await line.close();
  await directory.remove();
});

const receivedAt = receivedAtMs / 1000;
const daySeconds = 86_400;
const orders = 'SELECT * FROM shop.orders ORDER BY _receipt';

const archive = (table = 'orders') => line.loader.archivist.archive({ database: 'shop', table });
const files = () => (line.store.schema('shop', 'orders') as StoredTable).files;

/** Files of the lake, as they are on disk. */
async function onDisk(): Promise<readonly string[]> {
  const names = await readdir(line.store.lake.directory, { recursive: true });
  return names.filter((name) => /^[^.].*\.parquet$/.test(name)).sort();
}

/** The books are right, and the lake holds what the catalog names, nothing else. */
async function mustBeRight(): Promise<void> {
  expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
  const named = await line.rows('SELECT path FROM millrace.files ORDER BY path');
  expect(await onDisk()).toEqual(named.flat());
}

async function append(bodies: readonly (string | object)[], table = 'orders'): Promise<void> {
  for (const body of bodies) {
    await line.append(typeof body === 'string' ? body : JSON.stringify(body), { table });
  }
  await line.flush();
}

describe('archive', () => {
  const hard = [
    '{"a":1,"s":"x","j":{"n": 1.10, "t":[]},"b":true}',
    '{"a":9007199254740993,"s":"","j":[1, 2.50],"d":-0.0}',
    '{"a":"no","s":"ü😀\\u0000\\n","d":1e300}',
    '{"a":18446744073709551616,"time":7,"S":"second"}',
    '{"date":"some day","filename":"x","file_row_number":7}',
    '{}',
  ];

  test('every value is as it was, through files and back', async () => {
    await append(hard);
    const before = await line.rows(orders);
    const types = await line.rows('SELECT "column", type FROM millrace.columns');
    expect(await archive()).toBe(hard.length);
    expect(await line.rows(orders)).toEqual(before);
    expect(files()).toMatchObject([{ rows: hard.length, timeMin: receivedAt }]);
    await mustBeRight();
    await line.reopen();
    expect(await line.rows(orders)).toEqual(before);
    expect(await line.rows('SELECT "column", type FROM millrace.columns')).toEqual(types);
    expect(await archive()).toBe(0);
  });

  test('a table grows and widens over its files, the sealed and the hot', async () => {
    await append(['{"a":1}', '{"a":2,"old":"x"}']);
    await archive();
    await append(['{"a":2.5,"new":true}', '{"c":{"x":1}}']);
    expect(await line.rows('SELECT a, old, new, c FROM shop.orders ORDER BY _receipt')).toEqual([
      [1, null, null, null],
      [2, 'x', null, null],
      [2.5, null, true, null],
      [null, null, null, '{"x":1}'],
    ]);
    const [[type] = []] = await line.rows('SELECT typeof(a) FROM shop.orders LIMIT 1');
    expect(type).toBe('DOUBLE');
    await archive();
    await append(['{"a":"4"}']);
    expect(await line.rows('SELECT sum(a), count(*) FROM shop.orders')).toEqual([[9.5, 5]]);
    await mustBeRight();
  });

  test('a day has a folder, and late events go to their own', async () => {
    const days = [0, -1, -1, -5, 2];
    await append(days.map((day) => ({ td_record_time: receivedAt + day * daySeconds })));
    await archive();
    const found = await line.rows('SELECT day, rows FROM millrace.files ORDER BY day');
    expect(found).toEqual([
      ['2023-11-09', 1],
      ['2023-11-13', 2],
      ['2023-11-14', 1],
      ['2023-11-16', 1],
    ]);
    expect((await onDisk())[0]).toMatch(/^shop\/orders\/date=2023-11-09\/[0-9a-f]{16}\.parquet$/);
    await mustBeRight();
  });

  test('wide rows are written few at a time', async () => {
    const { fileRowGroupBytesMax: most } = limits;
    const [wide, rows] = [20_000, 4_096];
    expect(wide * rows).toBeGreaterThan(most);
    await append(Array.from({ length: rows }, (_, n) => ({ n, text: 'x'.repeat(wide) })));
    await archive();
    const [file] = files();
    expect(file?.plainBytes).toBeGreaterThan(wide * rows);
    expect(file?.plainBytes).toBeLessThan((wide + 100) * rows);
    const path = join(line.store.lake.directory, (await onDisk())[0] ?? '');
    const metadata = await parquetMetadataAsync(await asyncBufferFromFile(path));
    expect(metadata.row_groups.map(({ num_rows: n }) => Number(n))).toEqual([rows / 2, rows / 2]);
  });

  test('long rows become files before they are too much, also after a start', async () => {
    const { bodyBytesMax, hotRowGroupBytesMax: most } = limits;
    const long = { text: 'x'.repeat(bodyBytesMax - 100) };
    const few = Array.from({ length: Math.ceil((1.1 * most) / bodyBytesMax) }, () => long);
    const due = () => line.store.lake.due(receivedAtMs, Number.MAX_SAFE_INTEGER);
    await append([{ text: 'x' }]);
    expect(due()).toBeUndefined();
    await append(few);
    expect(due()).toMatchObject({ kind: 'archive', table: 'orders' });
    expect(line.store.lake.isFull).toBe(false);
    await append(few);
    expect(line.store.lake.isFull).toBe(true);
    await line.reopen();
    expect(line.store.lake.isFull).toBe(false);
    await line.store.lake.weigh();
    expect(line.store.lake.isFull).toBe(true);
    await archive();
    expect(line.store.lake.isFull).toBe(false);
    expect(due()).toBeUndefined();
    expect(files()).toMatchObject([{ rows: 2 * few.length + 1 }]);
  });

  test('rows of too many days share a file', async () => {
    const count = limits.archiveDaysMax + 10;
    const bodies = Array.from({ length: count }, (_, day) => {
      return JSON.stringify({ time: day * daySeconds, n: day });
    });
    await line.submit([{ bodies }], { dialect: 'ingest' });
    await append([]);
    expect(await archive()).toBe(count);
    expect(files()).toHaveLength(limits.archiveDaysMax);
    const rest = files().filter(({ day }) => day === '__HIVE_DEFAULT_PARTITION__');
    expect(rest).toMatchObject([{ rows: 11 }]);
    expect(await line.rows('SELECT count(DISTINCT n) FROM shop.orders')).toEqual([[count]]);
    await mustBeRight();
  });

  test('files of others stay, what is left of ours is set aside at the start', async () => {
    await append(['{"a":1}']);
    await archive();
    await line.close();
    const lake = join(directory.path, 'lake');
    const orphan = join(lake, 'shop/orders/date=2023-11-14/0123456789abcdef.parquet');
    await mkdir(join(lake, 'shop/gone/date=2023-11-14'), { recursive: true });
    await writeFile(orphan, 'x');
    await writeFile(join(lake, '.staging/0123456789abcdef.parquet'), 'x');
    await writeFile(join(lake, 'shop/orders/date=2023-11-14/mine.txt'), 'x');
    line = await Line.open(directory.path);
    await mustBeRight();
    const left = await readdir(lake, { recursive: true });
    expect(left.filter((name) => name.endsWith('.txt'))).toHaveLength(1);
    expect(left).not.toContain('shop/gone');
    const aside = '.orphans/shop.orders.date=2023-11-14.0123456789abcdef.parquet';
    expect(left.filter((name) => /^\.\w+\/./.test(name))).toEqual([aside]);
    expect(line.store.lake.setAside).toBe(1);
    await line.reopen();
    expect(line.store.lake.setAside).toBe(0);
  });

  test('a store that was never finished is begun again', async () => {
    await line.close();
    await rm(join(directory.path, 'store/millrace-1.duckdb'));
    await rm(join(directory.path, 'STORE'));
    line = await Line.open(directory.path);
    await append(['{"a":1}']);
    await mustBeRight();
  });

  test('a data directory that moves takes its files along', async () => {
    await append(['{"a":1}']);
    await archive();
    await line.close();
    const moved = `${directory.path}-moved`;
    await rename(directory.path, moved);
    line = await Line.open(moved);
    expect(await line.rows('SELECT a FROM shop.orders')).toEqual([[1]]);
    await line.close();
    await rename(moved, directory.path);
    line = await Line.open(directory.path);
    expect(await line.rows('SELECT a FROM shop.orders')).toEqual([[1]]);
  });

  test('a query keeps the files that it reads', async () => {
    await append(['{"a":1}']);
    await archive();
    await append(['{"a":2}']);
    await archive();
    const reader = await line.store.reader();
    const { rows } = await reader.select('SELECT a FROM shop.orders ORDER BY a');
    const old = files();
    await line.loader.archivist.alone((between) => {
      return line.store.lake.compact('shop', 'orders', old, between);
    });
    expect(files()).toHaveLength(1);
    expect(await onDisk()).toHaveLength(3);
    const found = [];
    for await (const some of rows) found.push(...some);
    reader.close();
    expect(found).toEqual([[1], [2]]);
    await expect.poll(onDisk).toHaveLength(1);
    await mustBeRight();
  });

  test('receipts, columns and types reach into files', async () => {
    await append(['{"a":1,"s":"x"}', '{"a":"y"}']);
    await archive();
    await append(['{"a":3}']);
    const columns = await line.store.columns('shop', 'orders');
    expect(columns).toMatchObject([
      { column: 'a', rows: 2, rescued: 1 },
      { column: 's', rows: 1 },
    ]);
    expect(await line.store.rescued('shop', 'orders', 10)).toEqual(['{"a":"y"}']);
    const receipts = await line.rows('SELECT _receipt FROM shop.orders ORDER BY _receipt');
    for (const [receipt] of receipts) {
      const offset = Number((receipt as string).slice(2));
      const found = await line.store.find(0, offset, offset + 1);
      expect(found).toEqual([{ receipt, database: 'shop', table: 'orders' }]);
    }
    const done = await line.loader.retype('shop', 'orders', 'a', 'VARCHAR');
    expect(done).toMatchObject({ restored: 1, rescued: 0, left: 0 });
    const after = await line.rows('SELECT a, _rescued_data FROM shop.orders ORDER BY _receipt');
    expect(after).toEqual([
      ['1', null],
      ['y', null],
      ['3', null],
    ]);
    await mustBeRight();
    await line.loader.dropTable('shop', 'orders', new Map());
    expect(await onDisk()).toEqual([]);
    await mustBeRight();
  });
});

describe('retention', () => {
  test('rows that are too old go, whole files first; the books stay right', async () => {
    const days = [0, -1, -3, -5];
    await append(days.map((day) => ({ td_record_time: receivedAt + day * daySeconds })));
    await archive();
    await append(days.map((day) => ({ td_record_time: receivedAt + day * daySeconds, hot: 1 })));
    const { lake } = line.store;
    const before = receivedAt - 2 * daySeconds;
    const gone = await line.loader.archivist.alone((between) => {
      return lake.expire('shop', 'orders', before, between);
    });
    expect(gone).toBe(4);
    const left = await line.rows('SELECT hot FROM shop.orders ORDER BY time, hot NULLS FIRST');
    expect(left).toEqual([[null], [1], [null], [1]]);
    const sums = 'SELECT sum(committed), sum(expired), sum(remainder) FROM millrace.ledger';
    expect(await line.rows(sums)).toEqual([[4, 4, 0]]);
    await mustBeRight();
    await archive();
    await mustBeRight();
  });

  test('is due by table or by database, and remembered', async () => {
    await append([{ td_record_time: receivedAt - 5 * daySeconds }]);
    await archive();
    const { lake } = line.store;
    const nowMs = receivedAtMs + 1000;
    const due = () => line.store.lake.due(nowMs, Number.MAX_SAFE_INTEGER);
    expect(due()).toBeUndefined();
    await lake.retain('shop', '*', 4 * daySeconds);
    const before = receivedAt + 1 - 4 * daySeconds;
    expect(due()).toEqual({ kind: 'expire', database: 'shop', table: 'orders', before });
    await lake.retain('shop', 'orders', 6 * daySeconds);
    // Hot rows of any age may be there: once an hour.
    expect(due()).toBeUndefined();
    await line.reopen();
    expect(line.store.lake.retentions).toHaveLength(2);
    await line.store.lake.retain('shop', 'orders', undefined);
    expect(due()).toMatchObject({ kind: 'expire', before });
  });
});

describe('compaction', () => {
  const file = (bytes: number, rows = 1, plainBytes = 0): LakeFile => ({
    name: '0',
    day: '2023-11-14',
    rows,
    bytes,
    plainBytes,
    timeMin: 0,
    timeMax: 0,
    receiptMin: 0n,
    receiptMax: 0n,
    crcs: [],
  });

  test('many small files of a day become one, sorted, with every row', async () => {
    const { lake } = line.store;
    for (let n = 0; n < limits.dayFilesMax; n += 1) {
      await append([{ n, td_record_time: receivedAt - n }]);
      await archive();
    }
    const before = await line.rows(orders);
    const chore = lake.due(receivedAtMs, Number.MAX_SAFE_INTEGER);
    expect(chore).toMatchObject({ kind: 'compact', table: 'orders' });
    if (chore?.kind !== 'compact') throw new Error('unreachable');
    await line.loader.archivist.alone((between) => {
      return lake.compact('shop', 'orders', chore.files, between);
    });
    expect(files()).toMatchObject([{ rows: limits.dayFilesMax }]);
    expect(await line.rows(orders)).toEqual(before);
    const times = await line.rows('SELECT time FROM shop.orders');
    expect(times).toEqual(times.toSorted(([a], [b]) => Number(a) - Number(b)));
    expect(lake.due(receivedAtMs, Number.MAX_SAFE_INTEGER)).toBeUndefined();
    await mustBeRight();
  });

  test('files of a day stay few, and a byte is written few times', () => {
    let [written, archived] = [0, 0];
    let day: LakeFile[] = [];
    const merge = (isOver: boolean) => {
      for (let chosen = filesToMerge(day, isOver); chosen.length > 1; ) {
        const bytes = chosen.reduce((sum, one) => sum + one.bytes, 0);
        expect(bytes).toBeLessThanOrEqual(limits.fileBytesMax);
        written += bytes;
        day = [...day.filter((one) => !chosen.includes(one)), file(bytes, chosen.length)];
        chosen = filesToMerge(day, isOver);
      }
    };
    for (let hour = 0; hour < 1_000; hour += 1) {
      const bytes = 1e5 * (1 + (hour % 7));
      archived += bytes;
      day.push(file(bytes));
      merge(false);
      expect(day.length).toBeLessThan(2 * limits.dayFilesMax);
    }
    merge(true);
    expect(day.length).toBeLessThan(limits.dayFilesMax);
    expect(written / archived).toBeLessThan(6);
  });

  test('a table whose files cannot be read does not hold up the others', async () => {
    for (const table of ['orders', 'visits']) {
      for (const n of [1, 2]) {
        await append([{ n }], table);
        await archive(table);
      }
    }
    const [first] = files();
    await rm(join(line.store.lake.directory, `shop/orders/date=2023-11-14/${first?.name}.parquet`));
    const { store, loader } = line;
    const tools = { logger: createLogger('silent', 'test'), metrics: new Metrics('test') };
    const upkeep = new Archivist({
      ...tools,
      store,
      clock: systemClock,
      archiveMinutes: 60,
      compactionShare: 100,
      between: (work) => loader.exclusive(work),
      also: () => Promise.resolve(false),
      onFatal: (error) => {
        throw error;
      },
    });
    // Their day is over, so all of them are to be merged.
    upkeep.start();
    const merged = `SELECT count(*) FROM millrace.files WHERE "table" = 'visits'`;
    await expect.poll(() => line.rows(merged), { timeout: 20_000 }).toEqual([[1]]);
    await upkeep.stop();
    expect(files()).toHaveLength(2);
  });

  test('a long file is not written again for a short one', () => {
    expect(filesToMerge([file(50e6), file(1e3)], true)).toEqual([]);
    expect(filesToMerge([file(50e6), file(30e6)], true)).toHaveLength(2);
    expect(filesToMerge([file(50e6), file(30e6)], false)).toEqual([]);
    expect(filesToMerge([file(150e6), file(120e6)], true)).toEqual([]);
  });

  test('what would not fit in memory is not merged, however small its files are', () => {
    const { filePlainBytesMax: most } = limits;
    expect(filesToMerge([file(1e6, 1e6, most / 3), file(1e6, 1e6, most / 3)], true)).toHaveLength(
      2,
    );
    expect(filesToMerge([file(1e6, 1e6, most * 0.6), file(1e6, 1e6, most * 0.1)], true)).toEqual(
      [],
    );
    const thirds = [1, 2, 3, 4].map(() => file(1e6, 1e6, most / 3 + 1));
    expect(filesToMerge(thirds, true)).toHaveLength(2);
    const longRows = [1, 2, 3, 4].map(() => file(1e6, 20, limits.fileVectorBytesMax / 3 + 1));
    expect(filesToMerge(longRows, true)).toHaveLength(2);
  });
});
