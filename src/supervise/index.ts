/**
 * The processes of one server: edges and a store, started, restarted and drained in order.
 *
 * Promises
 *  1. A process that dies is started again, after a wait that doubles while it keeps dying.
 *  2. A drain stops the edges first, then loads what they acknowledged, then closes the store.
 *  3. Processes whose supervisor is gone drain by themselves.
 *  4. Edges have the processor before the store.
 *  5. A store of another server hears and asks the edges on a socket as its own store would.
 *
 * Invariants
 *  1. A process never listens to signals: only the supervisor says when to drain.
 *  2. The store learns a durable offset only from the edge that synced it.
 *
 * Limits: `restartMsMax`, `restartResetMs`, `drainTimeoutMs`, `lineBytesMax`.
 */
export { ChildLink, type ChildProcess } from './link.ts';
export type { EdgeReport, Role } from './messages.ts';
export { standBack } from './priority.ts';
export { type Spawned, Supervisor } from './supervisor.ts';
