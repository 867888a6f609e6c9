/**
 * A data directory as it was at one moment, in a folder of its own, and back: docs/backup.md.
 *
 * Promises
 *  1. A backup of a running server holds, once, every event that was acknowledged before it began.
 *  2. The folder holds one whole backup at every moment, whatever is killed: the former one until
 *     the manifest of the new one is on disk, then the new one.
 *  3. Every file is known by its SHA-256, the manifest too. What is damaged is named and not
 *     restored.
 *  4. A restored data directory is whole, or it is not there under its name.
 *
 * Invariants
 *  1. Only files that never change are linked, or kept from the backup before.
 *  2. A file that the manifest on disk names is never written again.
 *  3. What the manifest names was synced before it, with all folders.
 *
 * Limits: one backup of a store, and one into a folder, at a time.
 */
export { backup, type BackupReport, type BackupSource } from './backup.ts';
export { restore, type RestoreReport, verify, type VerifyReport } from './restore.ts';
