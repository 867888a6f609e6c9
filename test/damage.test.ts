import { cp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MillraceError } from '../src/base/index.ts';
import { temporaryDirectory } from './support/server.ts';
import { baseOf, find, inFile, inLog, inStore, inWal, makeWhole } from './support/whole.ts';
import { mend, pathsIn, rowsIn, untouched } from './support/whole.ts';

/*
 * Damage at rest, wherever it may be: a byte of a file is another, or the file is cut. Then either
 * nothing is lost, or it is said; a server starts, or refuses with the command that repairs; and
 * after a repair only what the damage covers is missing. Every byte of the log, by the log's own
 * reader: test/sim/damage.test.ts. `npm run test:damage` takes all places, `npm test` some.
 */

const isAll = process.env.DAMAGE === 'all';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let whole: string;
let waiting = 0;
let offsets: readonly number[] = [];
beforeAll(async () => {
  directory = await temporaryDirectory();
  whole = join(directory.path, 'whole');
  offsets = await makeWhole(join(directory.path, 'made'), whole);
  waiting = offsets[0] ?? 0;
});
afterAll(() => directory.remove());

type Target = {
  /** Of a copy of the data directory. */
  readonly path: (data: string) => Promise<string>;
  /** How far apart bytes are that are changed, and cuts. */
  readonly step: number;
  readonly cutStep: number;
  /** Rows that damage to one byte may cost, and a cut. */
  readonly byteCosts: number;
  readonly cutCosts: number;
  /** Some places. */
  readonly bytes: readonly ((size: number) => number)[];
  readonly cuts: readonly ((size: number) => number)[];
};

const half = (size: number) => size >> 1;
const last = (size: number) => size - 1;
const at = (byte: number) => () => byte;

const targets: Readonly<Record<string, Target>> = {
  'a segment that waits': {
    path: async (data) => {
      return (await pathsIn(data, '.seg')).findLast((path) => baseOf(path) <= waiting) ?? '';
    },
    step: 29,
    cutStep: 211,
    byteCosts: 1,
    cutCosts: inLog,
    bytes: [at(16), last],
    cuts: [half],
  },
  'a segment that is loaded': {
    path: async (data) => (await pathsIn(data, '.seg'))[0] ?? '',
    step: 257,
    cutStep: 1_009,
    byteCosts: 0,
    cutCosts: 0,
    bytes: [half],
    cuts: [half],
  },
  'the file of the store': {
    path: (data) => Promise.resolve(join(data, 'store/millrace-1.duckdb')),
    step: 4_099,
    cutStep: 65_537,
    byteCosts: inStore + inWal,
    cutCosts: 0,
    bytes: [at(100), half],
    cuts: [half],
  },
  'the log of the store': {
    path: (data) => Promise.resolve(join(data, 'store/millrace-1.duckdb.wal')),
    step: 13,
    cutStep: 101,
    byteCosts: 0,
    cutCosts: 0,
    bytes: [at(2), at(12), half],
    cuts: [half],
  },
  'a file of the lake': {
    path: async (data) => (await pathsIn(data, '.parquet'))[0] ?? '',
    step: 31,
    cutStep: 307,
    byteCosts: inFile,
    cutCosts: inFile,
    bytes: [at(1), half, last],
    cuts: [half],
  },
};

async function copyOf(name: string): Promise<string> {
  const data = join(directory.path, name);
  await rm(data, { recursive: true, force: true });
  await cp(whole, data, { recursive: true });
  return data;
}

/** Damages two copies: one is started as it is, the other one is looked at and repaired. */
async function tryOut(damage: (data: string) => Promise<void>, costs: number, place: string) {
  const [started, mended] = [await copyOf('started'), await copyOf('mended')];
  await damage(started);
  await damage(mended);
  const said = await find(mended);
  const isSaid = said.findings.length > 0;
  try {
    const now = await rowsIn(started);
    if (!isSaid) expect(now, place).toEqual(untouched);
  } catch (error) {
    // The engine may say of a file what it finds in it.
    const isRefusal = error instanceof MillraceError && /millrace fsck/.test(error.hint);
    expect(isSaid && (isRefusal || place.includes('lake')), `${place}: ${String(error)}`).toBe(
      true,
    );
  }
  const { isWhole } = await mend(mended);
  expect(isWhole, place).toBe(true);
  const rows = await rowsIn(mended);
  expect(rows, place).toMatchObject({ remainder: 0, wrong: 0 });
  expect([rows.different, rows.right], place).toEqual([rows.rows, rows.rows]);
  expect(untouched.rows - rows.rows, place).toBeLessThanOrEqual(costs);
  expect((await find(mended)).isWhole, place).toBe(true);
}

function placesOf(size: number, step: number, some: readonly ((size: number) => number)[]) {
  if (!isAll) return some.map((placeIn) => placeIn(size));
  return Array.from({ length: Math.floor(size / step) }, (_, index) => index * step + 1);
}

describe.each(Object.entries(targets))('%s', (name, target) => {
  const sizeOf = async () => (await stat(await target.path(whole))).size;

  test('a byte that has changed', { timeout: 3_600_000 }, async () => {
    const places = placesOf(await sizeOf(), target.step, target.bytes);
    expect(places.length).toBeGreaterThan(0);
    for (const byte of places) {
      const flip = async (data: string) => {
        const path = await target.path(data);
        const content = await readFile(path);
        content.writeUInt8(content.readUInt8(byte) ^ 0x41, byte);
        await writeFile(path, content);
      };
      await tryOut(flip, target.byteCosts, `${name}, byte ${byte}`);
    }
  });

  test('a cut', { timeout: 3_600_000 }, async () => {
    const places = placesOf(await sizeOf(), target.cutStep, target.cuts);
    for (const size of places) {
      const cut = async (data: string) => truncate(await target.path(data), size);
      await tryOut(cut, target.cutCosts, `${name}, cut to ${size}`);
    }
  });
});
