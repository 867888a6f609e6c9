import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { selectRows } from './catalog.ts';
import { Duck, type DuckWriter } from './duckdb.ts';
import { type CellValue, type ColumnType, Rows } from './rows.ts';
import { parquetOf } from './staging.ts';

let directory: string;
let duck: Duck;
let reader: DuckWriter;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-rows-'));
  duck = await Duck.open(join(directory, 'x.duckdb'), join(directory, 'mm.duckdb'), 2_048, {});
  reader = await duck.connect();
});

afterEach(async () => {
  reader.close();
  duck.close();
  await rm(directory, { recursive: true });
});

const columns: Readonly<Record<string, ColumnType>> = {
  i: 'BIGINT',
  d: 'DOUBLE',
  b: 'BOOLEAN',
  s: 'VARCHAR',
  j: 'JSON',
};

function rowsOf(all: readonly Readonly<Record<string, CellValue>>[]): Rows {
  const rows = new Rows();
  for (const row of all) {
    for (const [name, value] of Object.entries(row)) {
      if (value !== undefined) rows.column(name, columns[name]!).add(rows.count, value);
    }
    rows.endRow();
  }
  return rows;
}

/** What the engine reads, as text: numbers bit by bit, texts byte by byte. */
async function readBack(rows: Rows): Promise<readonly (readonly unknown[])[]> {
  const path = join(directory, 'rows');
  await writeFile(path, Buffer.concat(parquetOf(rows)));
  const texts = [...rows.columns.values()].map(({ type }, index) => {
    const isText = type === 'VARCHAR' || type === 'JSON';
    return isText ? `hex(encode(c${index}::VARCHAR))` : `c${index}::VARCHAR`;
  });
  const names = [...rows.columns.keys()].map((_, index) => `c${index}`).join(', ');
  const found = await reader.all(`
    SELECT [${texts.join(', ')}] AS cells FROM (${selectRows(rows, path)}) AS rows (${names})`);
  return found.map(({ cells }) => cells as readonly unknown[]);
}

/** The same of what was written. */
function written(rows: Rows): readonly (readonly unknown[])[] {
  return rows.cells().map((cells) =>
    cells.map((cell) => {
      if (cell === undefined) return null;
      if (typeof cell === 'string') return Buffer.from(cell).toString('hex').toUpperCase();
      return typeof cell === 'number' ? spelled(cell) : String(cell);
    }),
  );
}

/** As the engine spells a double; what is written here is spelled alike. */
function spelled(value: number): string {
  return Number.isInteger(value) ? `${Object.is(value, -0) ? '-0' : value}.0` : String(value);
}

const texts = ['', 'x', 'é😀', '\ufeffmark', 'a\0b', '\0', 'l'.repeat(70_000), '"quoted" \\ back'];

describe('rows that the engine reads', () => {
  test('have their values, of every type', async () => {
    const rows = rowsOf([
      { i: 0n, d: 0, b: true, s: 'x', j: '{"x": 1.10, "x":[]}' },
      { i: 2n ** 63n - 1n, d: -0, b: false, s: '', j: '" "' },
      {},
      { i: -(2n ** 63n), d: 5e-324, s: 'only' },
      { i: -1n, d: 1.5, b: true, j: '[1e400]' },
      { i: 2n ** 53n + 1n, b: false },
    ]);
    expect(await readBack(rows)).toEqual(written(rows));
    expect(rows.cells()[1]).toEqual([2n ** 63n - 1n, -0, false, '', '" "']);
  });

  test('have texts to the byte', async () => {
    const rows = rowsOf(texts.map((s) => ({ s })));
    expect(await readBack(rows)).toEqual(written(rows));
    expect(rows.cells().map(([s]) => s)).toEqual(texts);
  });

  test.each([0, 1, 7, 8, 9, 2_047, 2_048, 2_049, 5_000])('are %d', async (count) => {
    const rows = rowsOf(
      Array.from({ length: count }, (_, row) => ({
        i: BigInt(row),
        b: row % 3 === 0 ? undefined : row % 2 === 0,
        s: row % 5 === 0 ? `text ${row}` : undefined,
      })),
    );
    expect(rows.count).toBe(count);
    if (count > 0) expect(await readBack(rows)).toEqual(written(rows));
  });

  test('have columns that come late, and more of them than a byte counts', async () => {
    const rows = new Rows();
    for (let row = 0; row < 300; row += 1) {
      rows.column(`k${row}`, row % 2 === 0 ? 'BIGINT' : 'VARCHAR').add(row, row % 2 ? 'x' : 1n);
      rows.endRow();
    }
    expect(await readBack(rows)).toEqual(written(rows));
  });
});

describe('rows', () => {
  test('are without what is taken back', async () => {
    const rows = rowsOf([{ i: 1n, s: 'one', b: true }]);
    rows.column('i', 'BIGINT').addSafeInteger(1, -5);
    rows.column('s', 'VARCHAR').add(1, 'gone');
    rows.column('b', 'BOOLEAN').add(1, false);
    rows.undoRow();
    rows.column('i', 'BIGINT').addSafeInteger(1, -(2 ** 53) + 1);
    rows.endRow();
    expect(rows.cells()).toEqual([
      [1n, 'one', true],
      [-(2n ** 53n) + 1n, undefined, undefined],
    ]);
    expect(await readBack(rows)).toEqual(written(rows));
  });

  test('keep integers that become doubles', async () => {
    const rows = rowsOf([{ i: 1n }, {}, { i: -(2n ** 53n) }]);
    rows.column('i', 'BIGINT').widen();
    rows.column('i', 'BIGINT').add(3, 0.5);
    rows.endRow();
    expect(rows.cells()).toEqual([[1], [undefined], [-(2 ** 53)], [0.5]]);
    expect(await readBack(rows)).toEqual(written(rows));
  });

  test('are sliced, some left out', () => {
    const rows = rowsOf([{ i: 1n }, { s: 'two' }, { i: 3n, s: 'three' }, { b: true }, { i: 5n }]);
    const slice = rows.slice(1, 4, new Set([1]));
    expect([...slice.columns.keys()]).toEqual(['i', 's', 'b']);
    expect(slice.cells()).toEqual([
      [3n, 'three', undefined],
      [undefined, undefined, true],
    ]);
  });

  test('of a text that is no UTF-8 are refused as input', async () => {
    const rows = new Rows();
    rows.column('s', 'VARCHAR').addText(0, Buffer.from([0xff]), 0, 1);
    rows.endRow();
    await expect(readBack(rows)).rejects.toThrow(/^Invalid Input Error/);
  });
});
