/**
 * Proof for whoever runs it: the promise held against kills of real processes, and the disk that it
 * stands on, on the machine where it is to hold.
 *
 * Promises
 *  1. `crashTest` passes only if every acknowledged event was found in its table or in quarantine,
 *     once and as it was sent, nothing else was found, and a fresh event passed after the faults.
 *  2. A run in which too little happened to show that is VACUOUS, not PASS.
 *  3. What it needs is in a folder of its own, beside the data directory and never in it. Only a
 *     run that fails keeps it, and says where.
 *  4. `checkStorage` reports times as they were measured, and names what it cannot know.
 *
 * Invariants
 *  1. The server under test is the program itself, as `serve` starts it, on loopback and free
 *     ports; what is known of it comes by its ports and its log.
 *  2. Event and row follow from an event's number: the oracle remembers two bytes for each.
 *  3. What is done follows from the seed; when it hits does not: processes have their own time.
 *
 * Limits: a SIGKILL takes a process, not the memory of the system: what a power cut does to a disk
 * is not shown here, but by the models in `test/sim/`. A test that is itself killed by SIGKILL
 * leaves its server and folder behind.
 */
export { crashTest, type CrashOptions } from './crash.ts';
export { type CrashReport, targets } from './report.ts';
export type { DiskFacts } from './machine.ts';
export type { Percentiles } from './percentiles.ts';
export { checkStorage, type StorageReport } from './storage.ts';
export { bands, unseen } from './verdict.ts';
