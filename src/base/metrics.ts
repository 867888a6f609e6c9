import { Counter, type LabelValues, Gauge, Registry } from '@prometheus-io/client';

/** What one process has counted, as plain data that can be sent to another. */
export type MetricsSnapshot = readonly object[];

/** What is counted without labels. */
export type Count = { readonly inc: (count?: number) => void };

/**
 * A histogram. The library's looks up its labels, of which there are none, with each value; an
 * edge has one with each request.
 */
export class Distribution {
  readonly name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  /** How many values were not above each bound, and above the one before; the last has none. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name;
    this.#help = help;
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let index = 0;
    while (index < bounds.length && value > bounds[index]!) index += 1;
    this.#counts[index]! += 1;
    this.#sum += value;
  }

  /** As the library's registry has it. */
  async get(): Promise<object> {
    const { name } = this;
    let count = 0;
    const buckets = [...this.#counts].map((inBucket, index) => {
      count += inBucket;
      const le = this.#bounds[index] ?? '+Inf';
      return { metricName: `${name}_bucket`, labels: { le }, value: count };
    });
    const sums = [
      { metricName: `${name}_sum`, labels: {}, value: this.#sum },
      { metricName: `${name}_count`, labels: {}, value: count },
    ];
    const values = [...buckets, ...sums];
    return { name, help: this.#help, type: 'histogram', values, aggregator: 'sum' };
  }
}

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

  /** Adds up what happened; it is put into the registry when somebody asks for it. */
  counter(name: string, help: string): Count {
    let pending = 0;
    const registers = [this.#registry];
    const counter: Counter = new Counter({
      name,
      help,
      registers,
      collect: () => {
        counter.inc(pending);
        pending = 0;
      },
    });
    return {
      inc: (count = 1) => {
        pending += count;
      },
    };
  }

  /** The same with labels. @param collect adds what was counted elsewhere. */
  counters<L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    collect: (counter: Counter<L>) => void = () => undefined,
  ): Counter<L> {
    const registers = [this.#registry];
    const counter: Counter<L> = new Counter<L>({
      name,
      help,
      labelNames: [...labelNames],
      registers,
      collect: () => collect(counter),
    });
    return counter;
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

  histogram(name: string, help: string, buckets: readonly number[]): Distribution {
    const distribution = new Distribution(name, help, buckets);
    this.#registry.registerMetric(distribution as never);
    return distribution;
  }

  snapshot(): Promise<MetricsSnapshot> {
    return this.#registry.getMetricsAsJSON();
  }
}

/** The text for a scraper, of all processes together. */
export function mergeMetrics(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  return Registry.aggregate(snapshots as never).metrics();
}
