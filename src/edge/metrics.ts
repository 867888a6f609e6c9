import type { FaultCode, Metrics } from '../base/index.ts';
import type { RouteName } from '../wire/index.ts';

export type RouteLabel = RouteName | 'page' | 'other' | 'malformed';

export type EdgeMetrics = ReturnType<typeof edgeMetrics>;

/** What an edge counts. `code` takes the statuses of the catalogue, and 499: the sender left. */
export function edgeMetrics(
  metrics: Metrics,
  now: { readonly bodyBytes: () => number; readonly connections: () => number },
) {
  /** Requests by route and status, since somebody asked. */
  let counted: { [Route in RouteLabel]?: number[] } = {};
  metrics.counters(
    'millrace_http_requests_total',
    'Requests answered.',
    ['route', 'code'],
    (all) => {
      for (const [route, counts] of Object.entries(counted)) {
        counts.forEach((count, code) => all.inc({ route, code: String(code) }, count));
      }
      counted = {};
    },
  );
  const refused = metrics.counters('millrace_events_refused_total', 'Requests refused, by fault.', [
    'reason',
  ]);
  metrics.gauge(
    'millrace_edge_body_bytes',
    'Bodies being read or waiting for the log.',
    now.bodyBytes,
  );
  metrics.gauge('millrace_edge_connections', 'Connections that are open.', now.connections);
  return {
    received: metrics.counter('millrace_events_received_total', 'Valid events.'),
    durable: metrics.counter('millrace_events_durable_total', 'Events synced to the log.'),
    duration: metrics.histogram(
      'millrace_http_request_duration_seconds',
      'From the head of a request to its answer.',
      [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
    ),
    cut: metrics.counter(
      'millrace_edge_connections_cut_total',
      'Connections cut to make room for others.',
    ),
    count: (route: RouteLabel, code: number) => {
      const counts = (counted[route] ??= []);
      counts[code] = (counts[code] ?? 0) + 1;
    },
    refused: (reason: FaultCode) => refused.inc({ reason }),
  };
}
