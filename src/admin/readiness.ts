import { limits } from '../base/index.ts';
import type { EdgeReport } from '../supervise/index.ts';

export type Check = {
  readonly edge: number;
  readonly syncedLately: boolean;
  readonly diskHasRoom: boolean;
};

/** Whether there are edges, and each answers, has synced lately and has room on its disk. */
export function readiness(
  edges: number,
  reports: readonly EdgeReport[],
  nowMs: number,
): { readonly ready: boolean; readonly checks: readonly Check[] } {
  const checks = reports.map(({ shard, lastSyncAtMs, hasRoom }) => ({
    edge: shard,
    syncedLately: Math.abs(nowMs - lastSyncAtMs) <= limits.syncAgeMsMax,
    diskHasRoom: hasRoom,
  }));
  const ready =
    reports.length >= Math.max(1, edges) &&
    checks.every(({ syncedLately, diskHasRoom }) => syncedLately && diskHasRoom);
  return { ready, checks };
}
