import { beforeEach, describe, expect, test, vi } from 'vitest';
import { Log, LogInspector, LogReader, mendHeader, type ReadBatch } from '../../src/log/index.ts';
import { seeded, SimDisk } from './disk.ts';

const directory = '/log/0';
const headerBytes = 80;
const frameOverheadBytes = 12;
const records = Array.from({ length: 12 }, (_, index) =>
  Buffer.from(`${index}:`.padEnd(40 + 9 * index, 'x')),
);

type Made = {
  readonly disk: SimDisk;
  readonly offsets: readonly number[];
  readonly durable: number;
};

/** A log of several segments; the last one holds records too. */
async function make(): Promise<Made> {
  const disk = new SimDisk(seeded(1));
  const log = await Log.open({
    disk,
    clock: { nowMs: () => 0 },
    ids: { bytes: (count) => Buffer.from('12345678'.slice(0, count)) },
    directory,
    segmentBytes: 250,
    reserveBytes: 0,
    onFatal: (error) => {
      throw error;
    },
  });
  const offsets: number[] = [];
  for (const record of records) offsets.push(await log.append(record));
  const durable = log.durableOffset;
  await log.close();
  return { disk, offsets, durable };
}

async function readAll({ disk, durable }: Made) {
  const reader = await LogReader.open(disk, directory);
  const all = {
    records: [] as { readonly offset: number; readonly record: Buffer }[],
    damage: [] as ReadBatch['damage'][number][],
  };
  let at = reader.firstOffset;
  while (at < durable) {
    const batch = await reader.read(at, durable, 1_000);
    expect(batch.next).toBeGreaterThan(at);
    all.records.push(...batch.records);
    all.damage.push(...batch.damage);
    at = batch.next;
  }
  return { ...all, next: at };
}

describe('damage on the medium', () => {
  let made: Made;
  beforeEach(async () => {
    made = await make();
  });

  test('the log has several segments and reads whole', async () => {
    const { records: found, damage } = await readAll(made);
    expect(made.disk.paths().length).toBeGreaterThan(3);
    expect(found.map(({ record }) => record.toString())).toEqual(records.map(String));
    expect(damage).toEqual([]);
  });

  test('a changed byte anywhere costs the record it lies in, and no other', async () => {
    let changed = 0;
    for (const path of made.disk.paths()) {
      const whole = made.disk.peek(path);
      const base = Number(path.slice(-24, -4));
      for (let at = 0; at < whole.length; at += 1) {
        const bytes = Buffer.from(whole);
        bytes[at] = (bytes[at] ?? 0) ^ 0x40;
        made.disk.poke(path, bytes);
        await expectOnlyLost(made, base + at, at < headerBytes);
        changed += 1;
      }
      made.disk.poke(path, whole);
    }
    expect(changed).toBeGreaterThan(1_000);
  });

  test('a segment whose header is gone is read by its frames', async () => {
    let read = 0;
    for (const path of made.disk.paths().filter((name) => name.endsWith('.seg'))) {
      const whole = made.disk.peek(path);
      const base = Number(path.slice(-24, -4));
      const own = made.offsets.filter((at) => at >= base && at < base + whole.length);
      made.disk.poke(path, Buffer.from(whole).fill(0, 0, headerBytes));
      const { records: found, damage } = await readAll(made);
      // One frame alone tells nothing: there is none to compare it with.
      const lost = own.length < 2 ? own : [];
      expect(found.map(({ offset }) => offset)).toEqual(
        made.offsets.filter((offset) => !lost.includes(offset)),
      );
      expect(damage.length).toBe(lost.length);
      read += own.length - lost.length;
      made.disk.poke(path, whole);
    }
    expect(read).toBeGreaterThan(5);
  });

  test('a lost header is told by frames with zeros behind them, and written anew', async () => {
    const path = made.disk.paths().find((name) => name.endsWith('.seg')) ?? '';
    const base = Number(path.slice(-24, -4));
    const whole = made.disk.peek(path);
    const prepared = Buffer.concat([whole, Buffer.alloc(2 * whole.length)]);
    made.disk.poke(path, Buffer.from(prepared).fill(0, 0, headerBytes));
    expect(await mendHeader(made.disk, directory, base, base)).toBe(true);
    expect(made.disk.peek(path).equals(prepared)).toBe(true);
  });

  test('a segment that is cut to its length while it is looked at has its records', async () => {
    const path = made.disk.paths().find((name) => name.endsWith('.seg')) ?? '';
    const base = Number(path.slice(-24, -4));
    const whole = made.disk.peek(path);
    const log = await LogInspector.open(made.disk, directory);
    const before = await log.segment(base);
    made.disk.poke(path, Buffer.concat([whole, Buffer.alloc(100)]));
    const open = made.disk.openRead.bind(made.disk);
    vi.spyOn(made.disk, 'openRead').mockImplementation(async (name) => {
      const file = await open(name);
      if (name !== path) return file;
      const size = async () => {
        const bytes = await file.size();
        made.disk.poke(path, whole);
        return bytes;
      };
      return { ...file, size };
    });
    expect(await log.segment(base)).toEqual(before);
  });

  test('a segment cut anywhere costs the records behind the cut, and says so', async () => {
    for (const path of made.disk.paths()) {
      const whole = made.disk.peek(path);
      const base = Number(path.slice(-24, -4));
      for (let size = headerBytes; size < whole.length; size += 7) {
        made.disk.poke(path, Buffer.from(whole.subarray(0, size)));
        const { records: found, damage } = await readAll(made);
        const lost = made.offsets.filter((offset, index) => {
          const end = offset + frameOverheadBytes + (records[index]?.length ?? 0);
          return offset >= base && offset < base + whole.length && end > base + size;
        });
        expect(found.map(({ offset }) => offset)).toEqual(
          made.offsets.filter((o) => !lost.includes(o)),
        );
        expect(damage.length).toBe(1);
      }
      made.disk.poke(path, whole);
    }
  });

  test('a frame that lies where it was not written is no frame', async () => {
    const [path = ''] = made.disk.paths();
    const bytes = Buffer.from(made.disk.peek(path));
    const [first = 0, second = 0] = made.offsets;
    bytes.copy(bytes, second, first, second);
    made.disk.poke(path, bytes);
    const { records: found, damage } = await readAll(made);
    expect(found.map(({ offset }) => offset)).toEqual(made.offsets.filter((o) => o !== second));
    expect(damage).toMatchObject([{ from: second, to: made.offsets[2] }]);
  });

  test('a damaged segment is kept under another name when it is dropped', async () => {
    const [path = ''] = made.disk.paths();
    const bytes = Buffer.from(made.disk.peek(path));
    bytes[headerBytes + 20] = 0;
    made.disk.poke(path, bytes);
    const reader = await LogReader.open(made.disk, directory);
    for (let at = 0; at < made.durable; ) at = (await reader.read(at, made.durable, 1_000)).next;
    const dropped = await reader.drop(made.durable);
    expect(dropped).toBeGreaterThan(2);
    expect(made.disk.paths().filter((name) => name.endsWith('.damaged'))).toEqual([
      path.replace('.seg', '.damaged'),
    ]);
    expect(made.disk.paths().filter((name) => name.endsWith('.seg')).length).toBe(1);
  });

  test('a start that fails leaves no file open', async () => {
    const open = new Set<object>();
    const seen = <T extends { close(): Promise<void> }>(file: T): T => {
      const close = () => {
        open.delete(watched);
        return file.close();
      };
      const watched = { ...file, close };
      open.add(watched);
      return watched;
    };
    const { disk } = made;
    const [create, openDurable] = [disk.create.bind(disk), disk.openDurable.bind(disk)];
    vi.spyOn(disk, 'create').mockImplementation(async (path) => seen(await create(path)));
    // What is not there is made by `create`.
    vi.spyOn(disk, 'openDurable').mockImplementation(async (path) => {
      const isThere = disk.paths().includes(path);
      return isThere ? seen(await openDurable(path)) : openDurable(path);
    });
    let [failed, opened] = [0, false];
    for (let skip = 0; !opened; skip += 1) {
      disk.failNext('ENOSPC', skip);
      const log = await Log.open({
        disk,
        clock: { nowMs: () => 0 },
        ids: { bytes: (count) => Buffer.alloc(count, skip + 7) },
        directory,
        onFatal: () => undefined,
      }).catch(() => undefined);
      if (!log) failed += 1;
      else opened = true;
      await log?.close();
      expect(open.size, `a fault at operation ${skip}`).toBe(0);
    }
    expect(failed).toBeGreaterThan(5);
  });

  test('a failed read is no empty log: the start fails and nothing is cut', async () => {
    const before = made.disk.paths().map((path) => made.disk.peek(path).toString('hex'));
    for (let skip = 0; skip < 5; skip += 1) {
      made.disk.failNext('EIO', skip);
      const opened = Log.open({
        disk: made.disk,
        clock: { nowMs: () => 0 },
        ids: { bytes: (count) => Buffer.alloc(count, 7) },
        directory,
        onFatal: () => undefined,
      });
      await expect(opened).rejects.toThrow('EIO');
      expect(made.disk.paths().map((path) => made.disk.peek(path).toString('hex'))).toEqual(before);
    }
  });
});

async function expectOnlyLost(made: Made, damagedOffset: number, isHeader: boolean): Promise<void> {
  const { records: found, damage } = await readAll(made);
  const kept = made.offsets.filter((offset, index) => {
    const end = offset + frameOverheadBytes + (records[index]?.length ?? 0);
    return isHeader || damagedOffset < offset || damagedOffset >= end;
  });
  expect(
    found.map(({ offset }) => offset),
    `byte ${damagedOffset}`,
  ).toEqual(kept);
  expect(damage.length, `byte ${damagedOffset}`).toBe(isHeader ? 0 : 1);
}
