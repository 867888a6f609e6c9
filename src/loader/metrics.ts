import type { Metrics } from '../base/index.ts';
import type { QuarantineRow } from '../store/index.ts';
import type { Batch } from './batch.ts';
import type { LoaderStatus } from './status.ts';

const seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** What the loader counts. */
export function loaderMetrics(metrics: Metrics, status: () => LoaderStatus) {
  const committed = metrics.counter(
    'millrace_events_committed_total',
    'Events committed to the store, as rows or in quarantine.',
  );
  const quarantined = metrics.counter(
    'millrace_events_quarantined_total',
    'Events that went to millrace.quarantine.',
    ['reason'],
  );
  const rows = metrics.histogram(
    'millrace_loader_batch_events',
    'Events of one transaction.',
    [1, 10, 100, 1_000, 10_000, 100_000],
  );
  const commit = metrics.histogram(
    'millrace_loader_commit_duration_seconds',
    'Time of one transaction.',
    seconds,
  );
  const latency = metrics.histogram(
    'millrace_e2e_latency_seconds',
    'From receipt to queryable, of the oldest event of each transaction.',
    seconds,
  );
  metrics.gauge(
    'millrace_loader_lag_seconds',
    'Age of the oldest event that is not loaded.',
    () => status().lagMs / 1000,
  );
  metrics.gauge('millrace_log_waiting_bytes', 'Bytes of the log that are not loaded.', () =>
    status().shards.reduce((sum, { waitingBytes }) => sum + waitingBytes, 0),
  );
  metrics.gauge('millrace_log_segments', 'Segments on disk.', () =>
    status().shards.reduce((sum, { segments }) => sum + segments, 0),
  );
  return {
    failures: metrics.counter('millrace_loader_failures_total', 'Loads that failed.'),
    damagedBytes: metrics.counter('millrace_log_damaged_bytes_total', 'Damage found in the log.'),
    quarantined: (added: readonly QuarantineRow[]) => {
      for (const { reason } of added) quarantined.inc({ reason });
    },
    observe: (batch: Batch, commitMs: number, nowMs: number) => {
      if (batch.events === 0) return;
      committed.inc(batch.events);
      rows.observe(batch.events);
      commit.observe(commitMs / 1000);
      latency.observe((nowMs - batch.oldestReceivedAtMs) / 1000);
    },
  };
}
