/**
 * What an event is, from its bytes to the members of its row. Pure: no I/O, no clock, no store.
 *
 * Promises
 *  1. The record of a submission gives back exactly what was put in, bodies byte for byte.
 *  2. `membersOf` gives every member of an object, doubles included, each value as it was written.
 *  3. `readRecord` applies the rules of the event's dialect. What steers (`uuid`, `#UUID`, a usable
 *     `time`) leaves the members; everything else stays, so nothing is lost.
 *
 * Invariants
 *  1. The body of a `Postback` is valid UTF-8 and a JSON object.
 *  2. A `Postback` holds the key's fingerprint, never the key.
 *  3. No two events of a record have the same `at`: it makes their receipts different.
 *
 * Limits: `nameLengthMin`, `nameLengthMax`, `columnNameBytesMax`, `keysKnownMax`.
 */
export { decodeSubmission, encodeSubmission, type Placed, receiptOf } from './envelope.ts';
export { isErased, receivedAtMsAt, SingleEncoder, SingleHead } from './envelope.ts';
export { elementsOf, type Member, membersOf } from './members.ts';
export { checkDatabase, checkTable, columnName } from './names.ts';
export { type Context, type Dialect, type Group } from './postback.ts';
export { type Postback, type Submission } from './postback.ts';
export { fingerprintOf } from './key.ts';
export { offsetBits, offsetDigits, parseReceipt, type Receipt } from './receipt.ts';
export { receiptHigh, receiptLow, receiptNumber, receiptText } from './receipt.ts';
export { addsAddress, type EventRecord, givenUuid, mayAsk, placeholders } from './record.ts';
export { readRecord, replaces, type TimeSource } from './record.ts';
export { recordTime, secondsIn, secondsOf } from './time.ts';
