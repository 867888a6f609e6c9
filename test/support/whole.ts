import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { patient } from '../../src/base/index.ts';
import { closedConfig, withRooms } from '../../src/cli/door.ts';
import { fsck, type FsckReport, type Load } from '../../src/fsck/index.ts';
import { Line } from './line.ts';

/* A data directory as a kill leaves it, with rows wherever rows can be, to be damaged. */

/** Rows in each of two files, in the store's file, in the store's log, and in the log alone. */
export const [inFile, inStore, inWal, inLog] = [100, 60, 40, 10];
export const inAll = 2 * inFile + inStore + inWal + inLog;

/** Makes it; its log is there from the beginning. @returns the offsets of what is in it alone */
export async function makeWhole(made: string, whole: string): Promise<readonly number[]> {
  await mkdir(made);
  await mkdir(whole);
  const line = await Line.open(made, undefined, undefined, { segmentBytes: 4_000 });
  const bodies = bodiesFrom(0);
  const append = (count: number) => line.submit([{ bodies: bodies(count) }]);
  line.loader.keepLog();
  for (let file = 0; file < 2; file += 1) {
    await append(inFile);
    await line.flush();
    await line.loader.archivist.archive({ database: 'shop', table: 'orders' });
  }
  await append(inStore);
  await line.append('{"p":1}', { key: '1/nobody' });
  await line.flush();
  await line.reopen();
  line.loader.keepLog();
  await append(inWal);
  await line.flush();
  await cp(join(made, 'store'), join(whole, 'store'), { recursive: true });
  await line.loader.close();
  await line.store.close();
  const offsets: number[] = [];
  for (let one = 0; one < inLog; one += 1) offsets.push(await append(1));
  await line.log.close();
  const filter = (path: string) => path !== join(made, 'store');
  await cp(made, whole, { recursive: true, filter });
  return offsets;
}

function bodiesFrom(first: number) {
  let n = first;
  return (count: number) =>
    Array.from({ length: count }, () => {
      n += 1;
      return JSON.stringify({ n, s: `text ${n}` });
    });
}

/** What there is when all is loaded, and whether the books come out even. */
export async function rowsIn(data: string) {
  return withRooms(closedConfig(data), async ({ store }) => {
    const reader = await store.reader();
    const { rows } = await reader.select(`SELECT count(*), count(DISTINCT n),
      count(*) FILTER (n BETWEEN 1 AND ${inAll} AND s = 'text ' || n),
      (SELECT count(*) FROM millrace.quarantine),
      (SELECT coalesce(sum(dropped), 0) FROM millrace.ledger),
      (SELECT sum(remainder) FROM millrace.ledger) FROM shop.orders`);
    const all: (readonly unknown[])[] = [];
    for await (const some of rows) all.push(...some);
    reader.close();
    const [count, different, right, parked, dropped, remainder] = all[0]?.map(Number) ?? [];
    const { events } = await store.books.audit();
    return { rows: count ?? -1, different, right, parked, dropped, remainder, wrong: events };
  });
}

/** What `rowsIn` says when nothing is lost. */
export const untouched = {
  rows: inAll,
  different: inAll,
  right: inAll,
  parked: 1,
  dropped: 0,
  remainder: 0,
  wrong: 0,
};

export const find = (data: string): Promise<FsckReport> => fsck(data, undefined, patient);

export function mend(data: string): Promise<FsckReport> {
  const load: Load = (use) => {
    return withRooms(closedConfig(data), ({ store, loader }) => {
      return use({ store, alone: (work) => loader.archivist.alone(work) });
    });
  };
  return fsck(data, load, patient);
}

/** Files of a data directory by the end of their names, without those that were set aside. */
export async function pathsIn(data: string, ending: string): Promise<readonly string[]> {
  const names = await readdir(data, { recursive: true });
  const ours = names.filter((name) => name.endsWith(ending) && !/^fsck|\/\./.test(name));
  return ours.sort().map((name) => join(data, name));
}

export async function flip(path: string, at: (bytes: number) => number): Promise<void> {
  const bytes = await readFile(path);
  const byte = at(bytes.length);
  bytes.writeUInt8(bytes.readUInt8(byte) ^ 0x41, byte);
  await writeFile(path, bytes);
}

export function baseOf(path: string): number {
  return Number.parseInt(path.slice(-24, -4), 10);
}
