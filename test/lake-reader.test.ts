import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { asyncBufferFromFile, parquetMetadataAsync, parquetRead, type RowGroup } from 'hyparquet';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../src/base/index.ts';
import type { Plain } from '../src/store/index.ts';
import { type HardEvent, hardEvents, jsonOf } from './support/hard-events.ts';
import type { StoredTable } from '../src/store/views.ts';
import { Line, openLoader, openLog, receivedAtMs } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* The files are read by a reader that shares no code with their writer, cell by cell. */

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

const dayStart = Math.floor(receivedAtMs / 86_400_000) * 86_400;
const groupRowsMax = 122_880;

/** Every BIGINT is a bigint. */
type Cell = null | boolean | bigint | number | string;
type Row = readonly Cell[];
/** `time` is the first column, `_receipt` the last one. */
type Rows = {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly Row[];
};

/** What SQL says of a table, in the order of a file. */
async function said(table: string): Promise<Rows> {
  const reader = await line.store.reader();
  try {
    const found = await reader.select(`FROM shop.${table}`);
    const columns = found.columns.map(({ name, type }) => {
      return { name, type: name === '_receipt' ? 'BIGINT' : type };
    });
    const rows: Row[] = [];
    for await (const some of found.rows) {
      rows.push(...some.map((row) => columns.map((column, at) => cellOf(column, row[at] ?? null))));
    }
    return { columns, rows: rows.sort(inOrder) };
  } finally {
    reader.close();
  }
}

function cellOf({ name, type }: Rows['columns'][number], value: Plain): Cell {
  if (name === '_receipt') {
    const [shard = '', offset = ''] = (value as string).split('-');
    return BigInt(shard) * 2n ** 48n + BigInt(offset);
  }
  const isBig = type === 'BIGINT' && value !== null;
  return isBig ? BigInt(value as number | string) : (value as Cell);
}

/** By `time`, then `_receipt`. */
function inOrder(a: Row, b: Row): number {
  const [time, receipt] = [a[0] as bigint, a.at(-1) as bigint];
  return Number(time - (b[0] as bigint)) || Number(receipt - (b.at(-1) as bigint));
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const text = (bytes: Uint8Array | undefined) => bytes && utf8.decode(bytes);
const reading = {
  compressors: { ZSTD: (bytes: Uint8Array) => zstdDecompressSync(bytes) },
  parsers: { stringFromBytes: text, jsonFromBytes: text },
  // What is not marked as text stays bytes.
  utf8: false,
};

/** How files call the types. */
const typesOf: Readonly<Record<string, string>> = {
  INT_64: 'BIGINT',
  DOUBLE: 'DOUBLE',
  BOOLEAN: 'BOOLEAN',
  UTF8: 'VARCHAR',
  JSON: 'JSON',
};

type Read = Rows & {
  readonly day: string | undefined;
  readonly groups: readonly RowGroup[];
};

/** The files of a table, as they are on disk, by the time of the first row. */
async function read(table: string): Promise<readonly Read[]> {
  const folder = join(directory.path, 'lake/shop', table);
  const names = await readdir(folder, { recursive: true });
  const paths = names.filter((name) => name.endsWith('.parquet'));
  const files = await Promise.all(paths.map((name) => readFile(join(folder, name))));
  return files.sort((a, b) => inOrder(a.rows[0] ?? [], b.rows[0] ?? []));
}

async function readFile(path: string): Promise<Read> {
  const file = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(file, reading);
  let rows: readonly Row[] = [];
  const onComplete = (all: readonly Row[]) => (rows = all);
  await parquetRead({ ...reading, file, metadata, onComplete });
  const columns = metadata.schema.slice(1).map(({ name, type, converted_type: meant }) => {
    return { name, type: typesOf[meant ?? type ?? ''] ?? 'unknown' };
  });
  const [, day] = /\/date=([^/]+)\/[0-9a-f]{16}\.parquet$/.exec(path) ?? [];
  return { columns, rows, day, groups: metadata.row_groups };
}

/** Holds what the footer says of each row group to its rows. */
function expectGroups({ groups, columns, rows }: Read): void {
  let start = 0;
  for (const group of groups) {
    const from = start;
    start += Number(group.num_rows);
    expect(group.columns.map((column) => column.meta_data?.codec)).toEqual(
      columns.map(() => 'ZSTD'),
    );
    for (const at of [0, columns.length - 1]) {
      const values = rows.slice(from, start).map((row) => row[at] as bigint);
      expect(group.columns[at]?.meta_data?.statistics).toMatchObject({
        min_value: values.reduce((a, b) => (a < b ? a : b)),
        max_value: values.reduce((a, b) => (a > b ? a : b)),
        null_count: 0n,
      });
    }
  }
  expect(start).toBe(rows.length);
}

/** A file's rows with the columns of the table: those that it lacks are NULL, and types widen. */
function rowsAs(now: Rows['columns'], { columns, rows }: Read): readonly Row[] {
  const places = now.map(({ name }) => columns.findIndex((column) => column.name === name));
  const widens = now.map(({ type }, at) => {
    const old = columns[places[at] ?? -1]?.type ?? type;
    const isWider = old === 'BIGINT' && type === 'DOUBLE';
    expect(isWider ? type : old).toBe(type);
    return isWider;
  });
  return rows.map((row) =>
    places.map((place, at) => {
      const cell = row[place] ?? null;
      return widens[at] && cell !== null ? Number(cell) : cell;
    }),
  );
}

/**
 * Holds the files of a table to what SQL said: each sorted and of its day, and together every row,
 * to the last digit, bit and character.
 */
async function expectFiles(table: string, { columns, rows }: Rows): Promise<readonly Read[]> {
  const files = await read(table);
  for (const file of files) {
    expectGroups(file);
    const days = file.rows.map(([time]) => new Date(Number(time) * 1000).toISOString());
    expect(new Set(days.map((iso) => iso.slice(0, 10)))).toEqual(new Set([file.day]));
    expect(file.rows.findIndex((row, at) => inOrder(file.rows[at - 1] ?? row, row) > 0)).toBe(-1);
  }
  const seen = files.flatMap((file) => rowsAs(columns, file)).sort(inOrder);
  expect(seen.length).toBe(rows.length);
  const different = rows.flatMap((row, at) =>
    columns.flatMap(({ name }, column) => {
      const [is, was] = [seen[at]?.[column], row[column]];
      return Object.is(is, was)
        ? []
        : [`${name} of row ${at} is ${inspect(is)}, not ${inspect(was)}`];
    }),
  );
  expect(different.slice(0, 10)).toEqual([]);
  return files;
}

const archive = (table: string) => line.loader.archivist.archive({ database: 'shop', table });

async function append(bodies: readonly string[], table: string): Promise<void> {
  for (const body of bodies) await line.append(body, { table });
  await line.flush();
}

/** Archives what was appended, and compares. */
async function expectArchived(table: string): Promise<readonly Read[]> {
  const before = await said(table);
  expect(await archive(table)).toBeGreaterThan(0);
  return expectFiles(table, before);
}

/** Makes one file of all, and compares. */
async function expectCompacted(table: string): Promise<void> {
  const before = await said(table);
  const { lake } = line.store;
  await line.loader.archivist.alone((between) => {
    return lake.compact(
      'shop',
      table,
      (line.store.schema('shop', table) as StoredTable).files,
      between,
    );
  });
  expect(await expectFiles(table, before)).toHaveLength(1);
}

function cells(file: Read | undefined, column: string): readonly (Cell | undefined)[] {
  const at = file?.columns.findIndex(({ name }) => name === column) ?? -1;
  return file?.rows.map((row) => row[at]) ?? [];
}

describe('another reader', () => {
  const long = 'ü😀"\\'.repeat(50_000);
  const nested = '{"n": 1.10, "big":18446744073709551616, "a":1,"a":[ ], "s":"\\u0041\\u0000"}';
  const hard = [
    '{"i":9223372036854775807,"d":-0.0,"s":"","j":[],"b":true}',
    `{"i":-9223372036854775808,"d":1e300,"s":"a\\u0000b","j":${nested},"b":false}`,
    '{"i":9007199254740993,"d":5e-324,"s":"\\ufeffx","j":"\\ufeff"}',
    '{"i":0,"d":0.1,"s":"👩‍👩‍👧 e\\u0301","j":null}',
    `{"i":"9007199254740993","d":-1.7976931348623157e308,"s":${JSON.stringify(long)}}`,
    `{"j":{"long":${JSON.stringify(long)}},"i":1.5,"I":7,"time":1,"b":"yes"}`,
    '{}',
  ];

  test('finds every hard value', async () => {
    await append(hard, 'hard');
    const [file] = await expectArchived('hard');
    expect(cells(file, 'i').slice(0, 3)).toEqual([2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n]);
    expect(cells(file, 'd').slice(0, 5)).toEqual([-0, 1e300, 5e-324, 0.1, -Number.MAX_VALUE]);
    expect(cells(file, 's').slice(0, 3)).toEqual(['', 'a\0b', '\ufeffx']);
    expect(cells(file, 's')[4]).toBe(long);
    expect(cells(file, 'j').slice(0, 3)).toEqual(['[]', nested, '"\\ufeff"']);
    expect(cells(file, 'b')).toEqual([true, false, null, null, null, null, null]);
    expect(cells(file, '_rescued_data')[5]).toBe('{"i":1.5,"time":1,"b":"yes"}');
  });

  test('finds the sign of each zero, where few values are many rows', async () => {
    const bodies = ['0.5', '0.0', '-0.0', '0.0', '-0.0', '-0', '0'].map((z) => `{"z":${z}}`);
    await append(bodies, 'zeros');
    await append(bodies, 'zeros');
    const [file] = await expectArchived('zeros');
    expect(cells(file, 'z').slice(1, 7)).toEqual([0, -0, 0, -0, -0, 0]);
  });

  test('finds random values', async () => {
    let tables = 0;
    const run = async (events: readonly HardEvent[]) => {
      const table = `random_${(tables += 1)}`;
      await append(events.map(jsonOf), table);
      await expectArchived(table);
      await append(events.toReversed().map(jsonOf), table);
      await expectArchived(table);
      await expectCompacted(table);
    };
    await fc.assert(fc.asyncProperty(hardEvents, run), { numRuns: 10 });
  });

  test('finds a table that grows and widens, before and after compaction', async () => {
    await append(['{"a":1,"old":"x"}', '{"a":9007199254740992}'], 'grows');
    await expectArchived('grows');
    await append(['{"a":2.5,"new":{"x": 1}}', '{"a":-3,"flag":true}', '{}'], 'grows');
    const [first, second] = await expectArchived('grows');
    expect(first?.columns).toContainEqual({ name: 'a', type: 'BIGINT' });
    expect(first?.columns).not.toContainEqual({ name: 'new', type: 'JSON' });
    expect(second?.columns).toContainEqual({ name: 'a', type: 'DOUBLE' });
    expect(cells(second, 'old')).toEqual([null, null, null]);
    await expectCompacted('grows');
  });

  test('finds all columns of a wide table', async () => {
    const names = Array.from({ length: limits.columnsMax }, (_, n) => `c${n}`);
    const event = (value: (n: number) => unknown) =>
      JSON.stringify(Object.fromEntries(names.map((name, n) => [name, value(n)])));
    const kinds = [Number, (n: number) => n / 2, String, Boolean, (n: number) => [n]];
    const bodies = [event((n) => kinds[n % 5]?.(n)), '{}', event(Number), '{"one_more":1}'];
    await append(bodies, 'wide');
    const [file] = await expectArchived('wide');
    expect(file?.columns).toHaveLength(limits.columnsMax + 3);
  });

  test('finds receipts of any shard', async () => {
    const shard = 2 ** 14 - 1;
    await append(['{"a":1}'], 'shards');
    await line.loader.close();
    const other = await openLog(directory.path, shard);
    line.loader = await openLoader(directory.path, line.store, [0, shard]);
    await line.submit([{ table: 'shards', bodies: ['{"a":2}', '{"a":3}'] }], {}, other);
    await line.append('{"a":4}', { table: 'shards' });
    const marks = [[0, line.log.mark] as const, [shard, other.mark] as const];
    await line.loader.flush(new Map(marks));
    await other.close();
    const [file] = await expectArchived('shards');
    const shards = cells(file, '_receipt').map((receipt) => Number((receipt as bigint) >> 48n));
    expect(shards).toEqual([0, 0, shard, shard]);
  });

  test('finds rows of many groups, a column of few values as a dictionary', async () => {
    const count = groupRowsMax + 2_120;
    const event = (n: number) => ({
      time: dayStart + ((n * 7_919) % 86_400),
      kind: ['view', 'cart', 'order'][n % 3],
      n,
      ...(n % 1_000 === 0 ? { rare: n / 8 } : {}),
    });
    for (let from = 0; from < count; from += count / 5) {
      const bodies = Array.from({ length: count / 5 }, (_, n) => JSON.stringify(event(from + n)));
      await line.submit([{ table: 'large', bodies }], { dialect: 'ingest' });
    }
    await line.flush();
    const [file] = await expectArchived('large');
    const encodings = file?.groups.map((group) => {
      const chunks = group.columns.map((column) => column.meta_data);
      return new Map(chunks.map((chunk) => [chunk?.path_in_schema[0], chunk?.encodings]));
    });
    expect(encodings).toHaveLength(2);
    expect(encodings?.map((of) => of.get('kind'))).toEqual([
      ['RLE_DICTIONARY'],
      ['RLE_DICTIONARY'],
    ]);
    expect(encodings?.[0]?.get('_receipt')).toEqual(['DELTA_BINARY_PACKED']);
  });
});
