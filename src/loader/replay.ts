import type { QuarantineReason, StoreBatch } from '../store/index.ts';
import type { Batch } from './batch.ts';

/** What became of events that were taken out of quarantine, or would become. */
export type ReplayReport = {
  events: number;
  /** Rows of their tables now. */
  rows: number;
  /** Repeats of events that are in their tables. */
  repeats: number;
  /** Still in quarantine, by reason. */
  readonly stay: Partial<Record<QuarantineReason, number>>;
};

export function emptyReport(): ReplayReport {
  return { events: 0, rows: 0, repeats: 0, stay: {} };
}

/** Adds what a batch came to. */
export function reportInto(report: ReplayReport, batch: Batch, written: StoreBatch): void {
  report.events += batch.events;
  for (const { rows, duplicates } of written.tables) {
    report.rows += rows.count;
    report.repeats += duplicates;
  }
  for (const { reason } of [...written.quarantine, ...batch.staying]) {
    report.stay[reason] = (report.stay[reason] ?? 0) + 1;
  }
}
