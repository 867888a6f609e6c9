import { assert, hashOf } from '../base/index.ts';
import { type Context, dialects, type Group, type Postback, type Submission } from './postback.ts';
import { receiptText } from './receipt.ts';

/*
 * The record of the log that holds one request's events, little-endian. Version 1 is one event of
 * the dialect `postback` with nothing beside it:
 *
 *   at  bytes
 *    0    1   version, 1
 *    1    1   length of the database's name, d
 *    2    1   length of the table's name, t
 *    3    1   0
 *    4    8   time of receipt, ms since the epoch
 *   12   32   SHA-256 of the write key
 *   44    d   database, ASCII
 *    …    t   table, ASCII
 *    …    …   body, to the end
 *
 * Version 2 is everything else:
 *
 *    0    1   version, 2
 *    1    1   dialect, its number
 *    2    2   0
 *    4   40   as above
 *   44    4   length of the context, c
 *   48    c   context, JSON
 *    …        groups, to the end, each:
 *         1   d
 *         1   t
 *         4   number of events
 *         d   database
 *         t   table
 *         …   for each event: 4 bytes of length, then the body
 */
const single = 1;
const many = 2;
const fingerprintAt = 12;
const fixedBytes = 44;
const groupBytes = 6;
const keyHashBytes = 4;
const lengthBytes = 4;
const twoTo32 = 2 ** 32;

/** An event of a record, and where it stands in it: no two of a record stand at the same place. */
export type Placed = { readonly at: number; readonly postback: Postback };

/** @param take gives memory for so many bytes, or more; what comes out lies in it. */
export function encodeSubmission(
  submission: Submission,
  take = (bytes: number): Buffer => Buffer.allocUnsafe(bytes),
): Buffer {
  const [body] = submission.groups[0]?.bodies ?? [];
  assert(body, 'a submission has an event');
  return SingleEncoder.fits(submission)
    ? new SingleEncoder(submission).encode(submission.receivedAtMs, body)
    : encodeMany(submission, take);
}

/** Encodes submissions of one plain event that differ in its body and its time of receipt alone. */
export class SingleEncoder {
  /** From the version to the names, the time still open. */
  readonly #head: Buffer;

  /** Whether a submission is of version 1. */
  static fits({ dialect, context, groups }: Submission): boolean {
    const isOne = groups.length === 1 && groups[0]?.bodies.length === 1;
    return isOne && dialect === 'postback' && Object.keys(context).length === 0;
  }

  /** @param submission one of those, which fits. */
  constructor({ fingerprint, groups }: Submission) {
    const [group] = groups;
    assert(group && groups.length === 1, 'a record of version 1 has one table');
    const { database, table } = group;
    mustBeNames(group);
    this.#head = Buffer.alloc(fixedBytes + database.length + table.length);
    this.#head[0] = single;
    this.#head[1] = database.length;
    this.#head[2] = table.length;
    writeFingerprint(this.#head, fingerprint);
    this.#head.write(database + table, fixedBytes, 'latin1');
  }

  encode(receivedAtMs: number, body: Uint8Array): Buffer {
    const head = this.#head;
    const bytes = Buffer.allocUnsafe(head.length + body.length);
    bytes.set(head, 0);
    writeTime(bytes, receivedAtMs);
    bytes.set(body, head.length);
    return bytes;
  }
}

/** The receipt of a record: of its event, if it holds one; else of all that lie in its bytes. */
export function receiptOf(
  { groups }: Submission,
  bytes: Buffer,
  shard: number,
  offset: number,
): string {
  const [body, second] = groups[0]?.bodies ?? [];
  if (groups.length > 1 || second || !body) return `${receiptText(shard, offset)}+${bytes.length}`;
  const at = bytes[0] === single ? 0 : bytes.length - body.length - lengthBytes;
  return receiptText(shard, offset + at);
}

/** The events of a record of the log; their bodies are views into `bytes`. */
export function decodeSubmission(bytes: Buffer): readonly Placed[] {
  assert(bytes[0] === single || bytes[0] === many, 'an envelope of a known version');
  return bytes[0] === single ? [decodeSingle(bytes)] : decodeMany(bytes);
}

/**
 * The head of a record of version 1, in the bytes of many records: what its event has in common
 * with others, so that nothing of it need be read again for each. Reading is by `decodeSubmission`.
 */
export class SingleHead {
  /** From the key's fingerprint to the end of the names. */
  readonly #bytes: Buffer;
  readonly #lengths: number;

  /** @param at where a record of version 1 begins. */
  constructor(bytes: Buffer, at: number) {
    this.#lengths = lengthsAt(bytes, at);
    this.#bytes = Buffer.from(bytes.subarray(at + fingerprintAt, bodyOf(bytes, at)));
  }

  /** Whether the record at a place is of version 1. */
  static isAt(bytes: Buffer, at: number): boolean {
    return bytes[at] === single;
  }

  /** The same for all records whose heads differ in nothing but the time of receipt. */
  static textAt(bytes: Buffer, at: number): string {
    const names = bytes.toString('latin1', at + fingerprintAt, bodyOf(bytes, at));
    return `${lengthsAt(bytes, at)} ${names}`;
  }

  /** A hash of what is most likely to differ among them: the names, and a part of the key. */
  static hashAt(bytes: Buffer, at: number): number {
    return hashOf(bytes, at + fixedBytes - keyHashBytes, bodyOf(bytes, at));
  }

  /** Whether the record of version 1 at a place has this head, whatever its time of receipt. */
  isHeadAt(bytes: Buffer, at: number): boolean {
    if (lengthsAt(bytes, at) !== this.#lengths) return false;
    const head = this.#bytes;
    const from = at + fingerprintAt;
    for (let index = 0; index < head.length; index += 1) {
      if (head[index] !== bytes[from + index]) return false;
    }
    return true;
  }

  /** Where the body begins, from the beginning of a record with this head. */
  get bodyAt(): number {
    return fingerprintAt + this.#bytes.length;
  }
}

/** The time of receipt in the record of version 1 at a place, ms since the epoch. */
export function receivedAtMsAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) + bytes.readUInt32LE(at + 8) * twoTo32;
}

/** Whether an event was erased: its bytes are zeros, and no body begins with one. */
export function isErased(body: Buffer): boolean {
  return body[0] === 0;
}

function lengthsAt(bytes: Buffer, at: number): number {
  return bytes.readUInt16LE(at + 1);
}

function bodyOf(bytes: Buffer, at: number): number {
  return at + fixedBytes + (bytes[at + 1] ?? 0) + (bytes[at + 2] ?? 0);
}

function decodeSingle(bytes: Buffer): Placed {
  const tableAt = fixedBytes + (bytes[1] ?? 0);
  const bodyAt = tableAt + (bytes[2] ?? 0);
  assert(bodyAt <= bytes.length, 'an envelope is whole');
  const database = bytes.toString('latin1', fixedBytes, tableAt);
  const table = bytes.toString('latin1', tableAt, bodyAt);
  const shared = { ...readFixed(bytes), dialect: 'postback', context: {}, index: 0 } as const;
  return { at: 0, postback: { ...shared, database, table, body: bytes.subarray(bodyAt) } };
}

function encodeMany(submission: Submission, take: (bytes: number) => Buffer): Buffer {
  const context = Buffer.from(JSON.stringify(submission.context));
  const contextAt = fixedBytes + lengthBytes;
  let size = contextAt + context.length;
  for (const { database, table, bodies } of submission.groups) {
    size += groupBytes + database.length + table.length + lengthBytes * bodies.length;
    for (const body of bodies) size += body.length;
  }
  const bytes = take(size).subarray(0, size);
  writeFixed(bytes, submission);
  bytes[0] = many;
  bytes[1] = dialects.indexOf(submission.dialect);
  bytes.writeUInt16LE(0, 2);
  bytes.writeUInt32LE(context.length, fixedBytes);
  bytes.set(context, contextAt);
  let at = contextAt + context.length;
  for (const { database, table, bodies } of submission.groups) {
    bytes[at] = database.length;
    bytes[at + 1] = table.length;
    bytes.writeUInt32LE(bodies.length, at + 2);
    at += groupBytes;
    at += bytes.write(database + table, at, 'latin1');
    for (const body of bodies) {
      bytes.writeUInt32LE(body.length, at);
      bytes.set(body, at + lengthBytes);
      at += lengthBytes + body.length;
    }
  }
  assert(at === size, 'an envelope has its size');
  return bytes;
}

function decodeMany(bytes: Buffer): readonly Placed[] {
  const dialect = dialects[bytes[1] ?? 255];
  assert(dialect, 'a known dialect');
  let at = fixedBytes + lengthBytes + bytes.readUInt32LE(fixedBytes);
  const context = JSON.parse(bytes.toString('utf8', fixedBytes + lengthBytes, at)) as Context;
  const shared = { ...readFixed(bytes), dialect, context };
  const placed: Placed[] = [];
  while (at < bytes.length) {
    const tableAt = at + groupBytes + bytes.readUInt8(at);
    const end = tableAt + bytes.readUInt8(at + 1);
    const database = bytes.toString('latin1', at + groupBytes, tableAt);
    const table = bytes.toString('latin1', tableAt, end);
    let left = bytes.readUInt32LE(at + 2);
    for (at = end; left > 0; left -= 1) {
      const bodyAt = at + lengthBytes;
      const bodyEnd = bodyAt + bytes.readUInt32LE(at);
      assert(bodyEnd <= bytes.length, 'an envelope is whole');
      const body = bytes.subarray(bodyAt, bodyEnd);
      placed.push({ at, postback: { ...shared, database, table, body, index: placed.length } });
      at = bodyEnd;
    }
  }
  return placed;
}

function writeFixed(bytes: Buffer, { receivedAtMs, fingerprint, groups }: Submission): void {
  groups.forEach(mustBeNames);
  writeTime(bytes, receivedAtMs);
  writeFingerprint(bytes, fingerprint);
}

function writeTime(bytes: Buffer, receivedAtMs: number): void {
  bytes.writeUInt32LE(receivedAtMs % twoTo32, 4);
  bytes.writeUInt32LE(Math.floor(receivedAtMs / twoTo32), 8);
}

function writeFingerprint(bytes: Buffer, fingerprint: Buffer): void {
  assert(fingerprint.length === 32, 'a fingerprint has 32 bytes');
  bytes.set(fingerprint, fingerprintAt);
}

function mustBeNames({ database, table }: Group): void {
  assert(database.length <= 255 && table.length <= 255, 'a name has its limit');
}

function readFixed(bytes: Buffer): Pick<Submission, 'receivedAtMs' | 'fingerprint'> {
  return {
    receivedAtMs: Number(bytes.readBigUInt64LE(4)),
    fingerprint: bytes.subarray(fingerprintAt, fixedBytes),
  };
}
