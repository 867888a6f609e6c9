/**
 * Write keys: who may write where. Kept in `<data>/keys.json` as fingerprints, never in clear.
 *
 * Promises
 *  1. The key itself is given once, when it is made, and cannot be had again.
 *  2. The file is replaced as a whole; a reader sees the old or the new text.
 *  3. A file with two entries for one key or one id, or with an unknown member, is a bad one.
 *  4. `KeyRing.refresh` sees every change that was made before it was called. A file that cannot
 *     be read leaves the last good one in force, says so, and is read again.
 *
 * Limits: `keysMax`, `nameLengthMin`, `nameLengthMax`.
 */
export { listKeys } from './file.ts';
export { changeKey, createKey, importKey, keysToRevoke, revokeKey, rotateKey } from './changes.ts';
export { type KeyChanges, type NewKey } from './changes.ts';
export { checkPattern, type KeyEntry, mayWrite, stateOf } from './entry.ts';
export { KeyRing } from './ring.ts';
