import { Counter, type LabelValues, Gauge, Histogram, Registry } from '@prometheus-io/client';

/** What one process has counted, as plain data that can be sent to another. */
export type MetricsSnapshot = readonly object[];

/**
 * The counters of one process. Names are `millrace_<area>_<thing>_<unit>[_total]`; labels take
 * values from closed lists only, never a key, a table's name or other text of a sender.
 */
export class Metrics {
  readonly #registry = new Registry();

  /** @param process which one, for example `edge-0`: the label that keeps series apart. */
  constructor(process: string) {
    this.#registry.setDefaultLabels({ process });
  }

  counter<L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) {
    return new Counter<L>({ name, help, labelNames: [...labelNames], registers: [this.#registry] });
  }

  /** A value that is read when somebody asks for it. */
  gauge(name: string, help: string, read: () => number | Promise<number>): void {
    const gauge: Gauge = new Gauge({
      name,
      help,
      registers: [this.#registry],
      collect: async () => gauge.set(await read()),
    });
  }

  /** A fact, as labels of a value that is always 1. */
  fact<L extends string>(name: string, help: string, labels: LabelValues<L>): void {
    const labelNames = Object.keys(labels) as L[];
    new Gauge<L>({ name, help, labelNames, registers: [this.#registry] }).set(labels, 1);
  }

  histogram(name: string, help: string, buckets: readonly number[]) {
    return new Histogram({ name, help, buckets: [...buckets], registers: [this.#registry] });
  }

  snapshot(): Promise<MetricsSnapshot> {
    return this.#registry.getMetricsAsJSON();
  }
}

/** The text for a scraper, of all processes together. */
export function mergeMetrics(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  return Registry.aggregate(snapshots as never).metrics();
}
