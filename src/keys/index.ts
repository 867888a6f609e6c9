/**
 * Write keys: who may write where. Kept in `<data>/keys.json` as fingerprints, never in clear.
 *
 * Promises
 *  1. The key itself is given once, by `create`, and cannot be had again.
 *  2. The file is replaced as a whole; a reader sees the old or the new text.
 *  3. `KeyRing.refresh` sees every change that was made before it was called. A file that cannot
 *     be read leaves the last good one in force and says so.
 *
 * Limits: `keysMax`.
 */
export { createKey, listKeys, revokeKey } from './file.ts';
export { type KeyEntry, mayWrite } from './entry.ts';
export { KeyRing } from './ring.ts';
