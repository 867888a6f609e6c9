import { readFile } from 'node:fs/promises';
import { fault, isMissing, writeBytes } from '../base/index.ts';

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
