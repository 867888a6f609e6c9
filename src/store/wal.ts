import { readFile, truncate } from 'node:fs/promises';
import { fault, isMissing, nodeDisk, writeBytes } from '../base/index.ts';

/*
 * The engine's log, as the engine writes it: 8 bytes that say its version, then entries, each with
 * its length and its checksum, of 8 bytes. Where a length leads beyond the end, or the beginning is
 * another, the engine takes the rest for torn and says nothing; but behind what is torn nothing
 * follows.
 */

/** Field 100: kind 98, a version; field 101: 2; the end. */
const beginning = Buffer.from([0x64, 0, 0x62, 0x65, 0, 2, 0xff, 0xff]);
const overheadBytes = 16;

/**
 * @param path of the log, which need not be there
 * @throws STORE_DAMAGED where the engine would leave out what is there
 */
export async function mustBeWholeLog(path: string): Promise<void> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  if (bytes.length < beginning.length) return;
  if (!bytes.subarray(0, beginning.length).equals(beginning)) {
    throw fault('STORE_DAMAGED', { seen: `Corrupt WAL file: ${path} begins with other bytes` });
  }
  const at = breakIn(bytes);
  if (at === undefined) return;
  const entry = `entry at byte position ${at + overheadBytes}`;
  const seen = `Corrupt WAL file: ${entry} has a length beyond the end, and others follow it`;
  throw fault('STORE_DAMAGED', { seen });
}

/** Writes its first bytes anew. */
export function mendLogBeginning(path: string): Promise<void> {
  return writeBytes(path, beginning, 0);
}

/** Where the entry begins whose length is wrong, if others follow it up to the end. */
function breakIn(bytes: Buffer): number | undefined {
  let at = beginning.length;
  for (let next = behind(bytes, at); next !== undefined; next = behind(bytes, at)) at = next;
  if (at === bytes.length) return undefined;
  for (let place = at + 1; place + overheadBytes < bytes.length; place += 1) {
    if (leadsToEnd(bytes, place)) return at;
  }
  return undefined;
}

/** Whether at least two entries stand from a place on, the last of which ends with the file. */
function leadsToEnd(bytes: Buffer, place: number): boolean {
  let [at, count] = [place, 0];
  for (let next = behind(bytes, at); next !== undefined; next = behind(bytes, at)) {
    at = next;
    count += 1;
  }
  return at === bytes.length && count >= 2;
}

/** Where an entry ends that has its length at a place. */
function behind(bytes: Buffer, at: number): number | undefined {
  if (at + overheadBytes >= bytes.length || bytes.readUInt32LE(at + 4) !== 0) return undefined;
  const length = bytes.readUInt32LE(at);
  const end = at + overheadBytes + length;
  return length > 0 && end <= bytes.length ? end : undefined;
}

/** How each transaction ends: the length of the entry, its checksum, and what it says. */
const flush = Buffer.from('0500000000000000e7fe7d722fed3d5e640064ffff', 'hex');
const sectorBytes = 512;

/**
 * Where a transaction begins that the end of the power has torn. The engine leaves it out by itself
 * where the file just ends too early; where a later piece reached the disk and an earlier one did
 * not, it takes it for damage and does not open.
 *
 * Each transaction is synced before the next is written, so only the last one can be torn. What it
 * lacks are whole sectors, which then are zeros: another byte is damage, and is left to be told.
 * @param seen what the engine says of the log, or `mustBeWholeLog`
 */
export async function tornFrom(path: string, seen: string): Promise<number | undefined> {
  if (!seen.includes('Corrupt WAL file')) return undefined;
  const [, found = overheadBytes] = /entry at byte position (\d+)/.exec(seen) ?? [];
  const at = Number(found) - overheadBytes;
  const bytes = await readFile(path);
  const next = bytes.indexOf(flush, at);
  if (next >= 0 && next + flush.length < bytes.length) return undefined;
  const before = at < flush.length ? -1 : bytes.lastIndexOf(flush, at - flush.length);
  const start = before < 0 ? 0 : before + flush.length;
  return lacksSector(bytes, start) ? start : undefined;
}

/** Cuts a torn transaction off. @returns whether there was one */
export async function cutTornLog(path: string, seen: string): Promise<boolean> {
  const start = await tornFrom(path, seen);
  if (start === undefined) return false;
  await truncate(path, start);
  await nodeDisk.syncFile(path);
  return true;
}

/** Whether a sector, or what a file has of it, is zeros from a place on. */
function lacksSector(bytes: Buffer, start: number): boolean {
  for (let at = start; at < bytes.length; ) {
    const end = (Math.floor(at / sectorBytes) + 1) * sectorBytes;
    if (bytes.subarray(at, end).every((byte) => byte === 0)) return true;
    at = end;
  }
  return false;
}
