/**
 * A data directory read whole, while no server has it: what is damaged, what that covers, and what
 * can be mended. docs/fsck.md.
 *
 * Promises
 *  1. Without `repair` nothing is changed.
 *  2. Each finding says what is lost with it, and what helps.
 *  3. What a repair changes or removes is in `<data>/fsck-<time>/` before.
 *  4. A repair loses no row and no event but those that the damage covers.
 *
 * Invariants
 *  1. Whoever calls has the lock of the data directory.
 *  2. Where the store cannot be read nothing is compared with it, and it is mended before all else.
 *
 * Limits: one segment of the log is in memory at a time.
 */
export { check, type Check } from './check.ts';
export { fsck, type FsckReport } from './fsck.ts';
export type { Finding } from './finding.ts';
export type { Load, Loaded } from './repair.ts';
