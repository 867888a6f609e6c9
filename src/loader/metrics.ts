import type { Metrics } from '../base/index.ts';
import type { Lake, StoreBatch } from '../store/index.ts';
import type { Batch } from './batch.ts';
import type { LoaderStatus } from './status.ts';

const durations = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** What the loader counts. */
export function loaderMetrics(metrics: Metrics, status: () => LoaderStatus) {
  const committed = metrics.counter(
    'millrace_events_committed_total',
    'Events settled in the store: rows, quarantine and repeats.',
  );
  const quarantined = metrics.counters(
    'millrace_events_quarantined_total',
    'Events that went to millrace.quarantine.',
    ['reason'],
  );
  const unknownKey = metrics.counter(
    'millrace_unknown_key_events_total',
    'Events whose key nobody has made.',
  );
  const deduplicated = metrics.counter(
    'millrace_events_deduplicated_total',
    'Repeats of events that are in their table; not stored again.',
  );
  const rows = metrics.histogram(
    'millrace_loader_batch_rows',
    'Events of one transaction.',
    [1, 10, 100, 1_000, 10_000, 100_000],
  );
  const commit = metrics.histogram(
    'millrace_loader_commit_duration_seconds',
    'Time of one transaction.',
    durations,
  );
  const latency = metrics.histogram(
    'millrace_e2e_latency_seconds',
    'From receipt to queryable, of the oldest event of each transaction.',
    durations,
  );
  lagMetrics(metrics, status);
  const released = metrics.counter(
    'millrace_events_released_total',
    'Events that left the quarantine for their tables.',
  );
  const skew = metrics.histogram(
    'millrace_event_clock_skew_seconds',
    'td_record_time against the time of receipt, how far it is off either way.',
    [1, 5, 60, 300, 3_600, 86_400, 259_200, 604_800],
  );
  let unsettled = 0;
  return {
    failures: metrics.counter('millrace_loader_failures_total', 'Loads that failed.'),
    damagedBytes: metrics.counter('millrace_wal_damaged_bytes_total', 'Damage found in the log.'),
    /** Events that were read from the log and became nothing. */
    unsettled: () => Math.abs(unsettled),
    released: (events: number) => released.inc(events),
    observe: (batch: Batch, written: StoreBatch, commitMs: number, nowMs: number) => {
      if (batch.events === 0) return;
      for (const { reason } of written.quarantine) {
        quarantined.inc({ reason });
        if (reason === 'unknown_key') unknownKey.inc();
      }
      const tableRows = written.tables.reduce((sum, table) => sum + table.rows.count, 0);
      const repeats = written.tables.reduce((sum, { duplicates }) => sum + duplicates, 0);
      deduplicated.inc(repeats);
      unsettled += batch.events - tableRows - repeats - written.quarantine.length;
      for (const seconds of batch.skews) skew.observe(Math.abs(seconds));
      committed.inc(batch.events);
      rows.observe(batch.events);
      commit.observe(commitMs / 1000);
      latency.observe((nowMs - batch.oldestReceivedAtMs) / 1000);
    },
  };
}

function lagMetrics(metrics: Metrics, status: () => LoaderStatus): void {
  metrics.gauge(
    'millrace_conservation_remainder',
    'Events by which the books are wrong, as last checked. Must be 0.',
    () => status().remainder.events,
  );
  const lagSeconds = () => status().lagMs / 1000;
  metrics.gauge(
    'millrace_wal_oldest_unloaded_seconds',
    'Age of the oldest event in the log that is not loaded.',
    lagSeconds,
  );
  metrics.gauge('millrace_loader_lag_seconds', 'How far the tables are behind.', lagSeconds);
  metrics.gauge(
    'millrace_wal_waiting_events',
    'Events of the log that are not loaded; -1 until the edges have counted them.',
    () => status().waitingEvents ?? -1,
  );
  metrics.gauge('millrace_wal_waiting_bytes', 'Bytes of the log that are not loaded.', () =>
    status().shards.reduce((sum, { waitingBytes }) => sum + waitingBytes, 0),
  );
  metrics.gauge('millrace_wal_segments', 'Segments on disk.', () =>
    status().shards.reduce((sum, { segments }) => sum + segments, 0),
  );
}

/** What is counted of files. */
export function upkeepMetrics(metrics: Metrics, lake: Lake) {
  metrics.gauge('millrace_lake_files', 'Parquet files.', () => lake.size.files);
  metrics.gauge('millrace_lake_bytes', 'Bytes of Parquet files.', () => lake.size.bytes);
  metrics.gauge('millrace_hot_rows', 'Rows that are not in files yet.', () => lake.size.hotRows);
  return {
    done: metrics.counters('millrace_upkeep_total', 'Archives, compactions, expiries.', ['kind']),
    failures: metrics.counter('millrace_upkeep_failures_total', 'Those that failed.'),
  };
}
