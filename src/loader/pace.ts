import { limits } from '../base/index.ts';

/**
 * How long to rest after a transaction. A part of what one costs is for each of its tables: if they
 * have few events each, the next one waits for more of them.
 */
export function restMs({ events, tables }: { readonly events: number; readonly tables: number }) {
  const { loadEveryMs, loadEveryMsMax, tablesPerRestMs, tableEventsMin } = limits;
  if (events >= tables * tableEventsMin) return loadEveryMs;
  return Math.min(loadEveryMsMax, Math.max(loadEveryMs, tables / tablesPerRestMs));
}
