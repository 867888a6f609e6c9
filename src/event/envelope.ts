import { assert } from '../base/index.ts';
import type { Postback } from './postback.ts';

/*
 * The record of the log that holds one postback, little-endian:
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
 */
const version = 1;
const fixedBytes = 44;

export function encodeEnvelope(postback: Postback): Buffer {
  const { database, table, fingerprint, receivedAtMs, body } = postback;
  assert(fingerprint.length === 32, 'a fingerprint has 32 bytes');
  assert(database.length <= 255 && table.length <= 255, 'a name has its limit');
  const bodyAt = fixedBytes + database.length + table.length;
  const bytes = Buffer.allocUnsafe(bodyAt + body.length);
  bytes[0] = version;
  bytes[1] = database.length;
  bytes[2] = table.length;
  bytes[3] = 0;
  bytes.writeBigUInt64LE(BigInt(receivedAtMs), 4);
  bytes.set(fingerprint, 12);
  bytes.write(database, fixedBytes, 'latin1');
  bytes.write(table, fixedBytes + database.length, 'latin1');
  bytes.set(body, bodyAt);
  return bytes;
}

/** The postback in a record of the log; its parts are views into `bytes`. */
export function decodeEnvelope(bytes: Buffer): Postback {
  assert(bytes[0] === version, `an envelope of version ${version}`);
  const tableAt = fixedBytes + (bytes[1] ?? 0);
  const bodyAt = tableAt + (bytes[2] ?? 0);
  assert(bodyAt <= bytes.length, 'an envelope is whole');
  return {
    database: bytes.toString('latin1', fixedBytes, tableAt),
    table: bytes.toString('latin1', tableAt, bodyAt),
    fingerprint: bytes.subarray(12, fixedBytes),
    receivedAtMs: Number(bytes.readBigUInt64LE(4)),
    body: bytes.subarray(bodyAt),
  };
}
