/**
 * What a postback is. Pure: bytes in, values out; no I/O, no clock, no store.
 *
 * Promises
 *  1. A request becomes a `Postback` or a rejection of the error catalogue, which says what was
 *     seen and what was expected. Neither is thrown.
 *  2. An envelope gives back exactly what was put in, its body byte for byte.
 *  3. `membersOf` gives every member of an object, doubles included, each value as it was written.
 *
 * Invariants
 *  1. The body of a `Postback` is valid UTF-8 and a JSON object.
 *  2. A `Postback` holds the key's fingerprint, never the key.
 *
 * Limits: `bodyBytesMax`, `keyBytesMax`, `nameLengthMin`, `nameLengthMax`, `columnNameBytesMax`.
 */
export { decodeEnvelope, encodeEnvelope } from './envelope.ts';
export { type Member, membersOf } from './members.ts';
export { checkDatabase, checkTable, columnName } from './names.ts';
export { type Postback, type PostbackRequest, readPostback } from './postback.ts';
export { fingerprintOf } from './key.ts';
export { recordTime } from './time.ts';
