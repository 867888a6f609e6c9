/** What each line says, and from where on it holds. */
export const lines = {
  load: { what: 'log to hot rows, one core', target: '≥ 250,000 events/s' },
  archive: { what: 'hot rows to Parquet, one core', target: '≥ 300,000 events/s' },
  bytes: { what: 'Parquet bytes per event of 303', target: '≤ 20' },
  groupby: { what: 'group-by by the table against its files', target: '≤ 1.15 ×' },
  hour: { what: 'one hour of 30 days against all of it', target: '≤ 0.1 ×' },
  fresh: { what: 'accept to queryable, 20,000 events/s', target: 'p99 ≤ 1 s' },
  steady: { what: 'memory of the store under steady load', target: 'flat, ≤ 1.5 GB' },
  tables: { what: 'many tables, 1 event/s each', target: 'lag ≤ 2 s, few files' },
} as const satisfies Record<string, { readonly what: string; readonly target: string }>;

export type LineName = keyof typeof lines;

export type Measured = {
  readonly holds: boolean;
  /** For people. */
  readonly text: string;
  /** For programs. */
  readonly figures: Readonly<Record<string, number | boolean>>;
};

export type Options = {
  readonly events: number;
  readonly rounds: number;
  readonly rows: number;
  readonly tables: number;
  readonly rate: number;
  readonly minutes: number;
  /** Undefined: each line's own. */
  readonly seconds: number | undefined;
};

/** Lines that are measured together. */
export type Measurement = {
  readonly lines: readonly LineName[];
  /** What it needs of the disk. */
  readonly diskBytes: (options: Options) => number;
  /**
   * @param chosen of its lines: those that are asked for.
   * @param folder its own, empty.
   * @throws when an event is missing or there twice
   */
  readonly measure: (
    options: Options,
    folder: string,
    chosen: ReadonlySet<LineName>,
  ) => Promise<Partial<Record<LineName, Measured>>>;
};

/** Of a rate: below, less was sent than was meant to be, and nothing holds. */
export const rateShareMin = 0.98;

/** A whole number with commas. */
export function grouped(number: number): string {
  return Math.round(number).toLocaleString('en-US');
}
