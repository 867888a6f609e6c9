import { beforeEach, describe, expect, test } from 'vitest';
import { sleep } from '../../src/base/index.ts';
import {
  KeptRecords,
  Log,
  LogReader,
  RawShard,
  type Found,
  type ReadBatch,
} from '../../src/log/index.ts';
import { seeded, SimDisk } from './disk.ts';

/* Segments that were loaded, kept compressed; how they meet crashes is in log.test.ts. */

const records = Array.from({ length: 12 }, (_, index) =>
  Buffer.from(`${index}:`.padEnd(40 + 9 * index, 'x')),
);
const atMs = 1_700_000_000_000;

let disk: SimDisk;
let log: Log;
let reader: LogReader;
let raw: RawShard;
const offsets: number[] = [];

beforeEach(async () => {
  disk = new SimDisk(seeded(1));
  log = await Log.open({
    disk,
    clock: { nowMs: () => 0 },
    ids: { bytes: (count) => Buffer.from('12345678'.slice(0, count)) },
    directory: '/log/0',
    segmentBytes: 150,
    reserveBytes: 0,
    onFatal: (error) => {
      throw error;
    },
  });
  offsets.length = 0;
  for (const record of records) offsets.push(await log.append(record));
  reader = await LogReader.open(disk, '/log/0');
  raw = await RawShard.open(disk, '/', 0, true);
});

/** Moves so many segments, the oldest first. */
async function move(count: number): Promise<void> {
  for (const base of reader.sealedBefore(log.durableOffset).slice(0, count)) {
    await raw.keep(base, atMs);
  }
  await reader.drop(log.durableOffset, (base) => raw.has(base));
}

async function readAll(from = 0, to = log.durableOffset) {
  const kept = await KeptRecords.open(raw);
  const found: Found[] = [];
  const damage: ReadBatch['damage'][number][] = [];
  for await (const batch of kept.read(from, to)) {
    found.push(...batch.records);
    damage.push(...batch.damage);
  }
  await kept.close();
  return { found, damage };
}

/** What comes of work; undefined if the machine stops before. */
async function unlessStopped<T>(work: Promise<T>, machine: SimDisk): Promise<T | undefined> {
  const over = new AbortController();
  const stopped = async () => {
    while (!machine.isDead && !over.signal.aborted) await sleep(0);
    return undefined;
  };
  return Promise.race([work, stopped()]).finally(() => over.abort());
}

const textOf = ({ record }: { readonly record: Buffer }) => record.toString();

describe('segments that are kept', () => {
  test('are read before the log, each record once, wherever they are', async () => {
    const count = reader.sealedBefore(log.durableOffset).length;
    expect(count).toBeGreaterThan(4);
    for (let moved = 0; moved <= count; moved += 1) {
      const { found, damage } = await readAll();
      expect(found.map(textOf)).toEqual(records.map(String));
      expect(found.map(({ offset }) => offset)).toEqual(offsets);
      expect(damage).toEqual([]);
      await move(1);
    }
    expect(disk.paths().filter((path) => path.endsWith('.seg'))).toHaveLength(1);
    const names = disk.paths().filter((path) => path.startsWith('/raw'));
    expect(names[0]).toBe(`/raw/0/00000000000000000000-${atMs}.seg.zst`);
    const again = await RawShard.open(disk, '/', 0, false);
    expect(again.segments).toEqual(raw.segments);
  });

  test('a range begins and ends with a record', async () => {
    await move(3);
    for (let first = 0; first < records.length; first += 1) {
      for (let last = first; last < records.length; last += 1) {
        const { found, damage } = await readAll(offsets[first], offsets[last]);
        expect(found.map(textOf)).toEqual(records.slice(first, last).map(String));
        expect(damage).toEqual([]);
      }
    }
  });

  test('what moves or goes while it is read is found or said', async () => {
    for (const isKept of [true, false]) {
      const kept = await KeptRecords.open(raw);
      const found: string[] = [];
      const damage: unknown[] = [];
      for await (const batch of kept.read(kept.firstOffset, log.durableOffset)) {
        found.push(...[...batch.records].map(textOf));
        damage.push(...batch.damage);
        if (found.length > 3) continue;
        if (isKept) await move(4);
        else for (const segment of raw.segments.slice(0, 3)) await raw.remove(segment);
      }
      await kept.close();
      if (isKept) expect([found, damage]).toEqual([records.map(String), []]);
      else {
        expect(found.length).toBeLessThan(records.length);
        expect(found.at(-1)).toBe(records.at(-1)?.toString());
        expect(damage).toMatchObject([{ reason: 'not kept' }]);
      }
    }
  });

  test('a damaged one costs its records only', async () => {
    await move(4);
    const [, second] = disk.paths().filter((path) => path.startsWith('/raw'));
    const bytes = Buffer.from(disk.peek(second ?? ''));
    bytes[bytes.length - 6] = (bytes[bytes.length - 6] ?? 0) ^ 1;
    disk.poke(second ?? '', bytes);
    const base = raw.segments[1]?.base ?? 0;
    const next = raw.segments[2]?.base ?? 0;
    const { found, damage } = await readAll();
    const left = offsets.filter((offset) => offset < base || offset >= next);
    expect(found.map(({ offset }) => offset)).toEqual(left);
    expect(damage).toEqual([{ from: base, to: next, reason: 'unreadable' }]);
  });

  test('one that is lost is a gap, at the beginning, in the middle and at the end', async () => {
    await move(Infinity);
    const { segments } = raw;
    for (const index of [0, 3, segments.length - 1]) {
      const { base = 0 } = segments[index] ?? {};
      const next = segments[index + 1]?.base ?? reader.firstOffset;
      const some = await RawShard.open(disk, '/', 0, false);
      const path = disk.paths().find((name) => name.includes(String(base).padStart(20, '0'))) ?? '';
      const whole = disk.peek(path);
      await some.remove(segments[index] ?? { base, keptAtMs: 0, bytes: 0 });
      raw = some;
      const { found, damage } = await readAll();
      const left = offsets.filter((offset) => offset < base || offset >= next);
      expect(found.map(({ offset }) => offset)).toEqual(left);
      expect(damage).toEqual([{ from: base, to: next, reason: 'not kept' }]);
      await disk.openDurable(path).then((file) => file.write(whole, 0));
      raw = await RawShard.open(disk, '/', 0, false);
    }
  });

  test('half of one that a crash left is removed', async () => {
    await move(1);
    await disk.create('/raw/0/00000000000000000500-1700000000000.seg.zst.tmp');
    const again = await RawShard.open(disk, '/', 0, true);
    expect(again.segments).toEqual(raw.segments);
    expect(disk.paths().filter((path) => path.endsWith('.tmp'))).toEqual([]);
  });

  test('without a folder there is none, and none is made', async () => {
    const none = await RawShard.open(disk, '/', 7, false);
    expect(none.segments).toEqual([]);
  });
});

describe('erasing', () => {
  const erased = (record: Buffer) => Buffer.concat([record.subarray(0, 5), Buffer.alloc(9)]);

  test('puts zeros into parts of records; all else stays where it was', async () => {
    await move(4);
    const chosen = offsets.filter((_, index) => index % 3 === 1);
    const before = raw.segments.map(({ base }) => base);
    const count = await raw.erase(chosen, ({ offset }) => {
      return chosen.includes(offset) ? [{ from: 5, to: 14 }] : [];
    });
    // Those that are in the log yet are not found.
    const inRaw = chosen.filter((offset) => offset < reader.firstOffset);
    expect(count).toBe(inRaw.length);
    expect(count).toBeGreaterThan(0);
    const expected = records.map((record, index) => {
      const rest = record.subarray(14);
      const isErased = inRaw.includes(offsets[index] ?? 0);
      return String(isErased ? Buffer.concat([erased(record), rest]) : record);
    });
    for (const read of [raw, await RawShard.open(disk, '/', 0, false)]) {
      raw = read;
      expect(raw.segments.map(({ base }) => base)).toEqual(before);
      const { found, damage } = await readAll();
      expect(found.map(textOf)).toEqual(expected);
      expect(found.map(({ offset }) => offset)).toEqual(offsets);
      expect(damage).toEqual([]);
    }
  });

  test('a power cut or a kill leaves the old or the new, whole', async () => {
    await move(4);
    const segments = new Map(disk.paths().map((path) => [path, disk.peek(path)]));
    for (let stopAt = 1; ; stopAt += 1) {
      for (const how of ['power', 'kill'] as const) {
        let machine = new SimDisk(seeded(stopAt));
        for (const [path, bytes] of segments) {
          await machine.create(path).then((file) => file.write(bytes, 0));
        }
        await machine.syncDirectory('/raw/0');
        await machine.syncDirectory('/log/0');
        const one = await RawShard.open(machine, '/', 0, false);
        machine.stopAt = machine.operations + stopAt;
        const erasing = one.erase([0], () => [{ from: 0, to: 3 }]);
        if ((await unlessStopped(erasing, machine)) !== undefined) return;
        machine = machine.crash(how);
        raw = await RawShard.open(machine, '/', 0, false);
        const { found, damage } = await readAll();
        expect(damage).toEqual([]);
        expect(found.map(({ offset }) => offset)).toEqual(offsets);
        const inFirst = found.filter(({ offset }) => offset < (raw.segments[1]?.base ?? 0));
        const first = inFirst.map(({ record }) => record[0] === 0);
        expect(new Set(first).size).toBe(1);
        expect(machine.paths().filter((path) => path.endsWith('.tmp'))).toEqual([]);
      }
    }
  });
});
