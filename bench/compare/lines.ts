/** What each line says, and from where on it holds. Ratios are of one run. */
export const lines = {
  edge: atLeast(0.85, '×', 'durable acks/s, edge only, against nginx without sync'),
  whole: atLeast(0.5, '×', 'durable acks/s, loader and store on the same core, against nginx'),
  fluent: atLeast(2.5, '×', 'the same against Fluent Bit with filesystem storage'),
  cores: atLeast(1.7, '×', 'durable acks/s, edge only, two cores against one'),
  ndjson: atLeast(300_000, 'events/s', 'NDJSON, 1,000 events a request, durable, edge only'),
  latency: atMost(5, 'ms', 'p99 ack at half the ceiling, open loop, edge only'),
  sync: atMost(4, '×', 'the same against the p99 of fdatasync alone'),
  latencyWhole: atMost(5, 'ms', 'p99 ack at half the ceiling, loader and store on the same core'),
  syncWhole: atMost(4, '×', 'the same against the p99 of fdatasync alone'),
  memory: atMost(250, 'MB', 'edge with 10,000 keep-alive connections under load'),
  start: atMost(2, 's', 'from start to the first 200, behind a log that nobody has loaded'),
  tables: atMost(1.3, '×', 'cost of an event, 1,000 tables against one'),
  rows: atMost(1.3, '×', 'cost of an event, 100 M stored rows against 1 M'),
} as const satisfies Record<string, Line>;

export type LineName = keyof typeof lines;
export const lineNames = Object.keys(lines) as LineName[];

export type Line = {
  readonly bound: 'at least' | 'at most';
  readonly target: number;
  readonly unit: '×' | 'events/s' | 'ms' | 'MB' | 's';
  readonly what: string;
};

/** What a line was measured to be, or why it was not. */
export type Finding =
  | { readonly value: number; readonly detail: string }
  | { readonly missing: string };

export type Findings = Readonly<Partial<Record<LineName, Finding>>>;

function atLeast(target: number, unit: Line['unit'], what: string): Line {
  return { bound: 'at least', target, unit, what };
}

function atMost(target: number, unit: Line['unit'], what: string): Line {
  return { bound: 'at most', target, unit, what };
}

export function holds({ bound, target }: Line, value: number): boolean {
  return bound === 'at least' ? value >= target : value <= target;
}

export function figure(value: number, unit: Line['unit']): string {
  const digits = unit === 'events/s' || unit === 'MB' ? 0 : 2;
  const precision = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return `${value.toLocaleString('en-US', precision)} ${unit}`;
}
