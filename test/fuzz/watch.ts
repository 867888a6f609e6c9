import { readdir, readFile } from 'node:fs/promises';
import { serverProcesses } from '../../bench/processes.ts';
import { catalogue } from '../../src/base/index.ts';
import { routes } from '../../src/wire/index.ts';
import { eventually } from '../support/eventually.ts';
import type { TestServer } from '../support/server.ts';

export type Peaks = { readonly edge: number; readonly store: number };

type Ended = {
  readonly problems: readonly string[];
  readonly peakBytes: Peaks;
  readonly series: number;
  readonly tables: number;
  readonly durable: number;
  readonly quarantined: number;
};

type Sample = { readonly share: number; readonly edge: number; readonly store: number };

const sampleEveryMs = 200;
const growthMax = 1.5;
const growthBytesMax = 150 * 1024 * 1024;
const seriesMax = 400;
const filesMoreMax = 10;
/** Longer than the edge keeps a connection of HTTP/2 that died without an event. */
const patienceMs = 130_000;
const drainSecondsMax = 15;

/** Looks after a server from its start: its processes, its memory, its metrics, its promise. */
export class Watch {
  readonly #server: TestServer;
  readonly #pids: Readonly<Record<'edge' | 'store', number>>;
  readonly #filesAtStart: number;
  readonly #samples: Sample[] = [];
  readonly #timer: NodeJS.Timeout;

  private constructor(
    server: TestServer,
    pids: Record<'edge' | 'store', number>,
    filesAtStart: number,
    share: () => number,
  ) {
    this.#server = server;
    this.#filesAtStart = filesAtStart;
    this.#pids = pids;
    this.#timer = setInterval(() => void this.#sample(share()), sampleEveryMs);
  }

  /** @param share how much of the campaign is done, from 0 to 1 */
  static async start(server: TestServer, share: () => number): Promise<Watch> {
    const pids = await pidsOf(server);
    return new Watch(server, pids, await openFiles(pids.edge), share);
  }

  /** Whether no process has ended so far. */
  isAlive(): boolean {
    return this.#server.process.exitCode === null && !this.#server.stderr().includes(ended);
  }

  /** Looks at everything at the end, and ends the server; what is wrong is in `problems`. */
  async end(key: string): Promise<Ended> {
    clearInterval(this.#timer);
    const problems: string[] = [];
    const attempt = async (what: string, check: () => Promise<readonly string[]>) => {
      const found = await check().catch((error: unknown) => [`${what}: ${String(error)}`]);
      problems.push(...found);
    };
    let state: State = { series: 0, tables: 0, durable: 0, quarantined: 0 };
    await attempt('processes', () => this.#checkProcesses());
    await attempt('a fresh event', () => this.#checkFresh(key));
    await attempt('the promise', async () => {
      const seen = await this.#readState();
      state = seen.state;
      return seen.problems;
    });
    await attempt('connections', () => this.#checkConnections());
    problems.push(...this.#checkMemory());
    await attempt('the end', () => this.#checkDrain());
    const peakBytes = {
      edge: Math.max(0, ...this.#samples.map(({ edge }) => edge)),
      store: Math.max(0, ...this.#samples.map(({ store }) => store)),
    };
    return { ...state, problems, peakBytes };
  }

  async #sample(share: number): Promise<void> {
    const [edge, store] = await Promise.all([
      residentBytes(this.#pids.edge),
      residentBytes(this.#pids.store),
    ]);
    this.#samples.push({ share, edge, store });
  }

  async #checkProcesses(): Promise<readonly string[]> {
    const problems = this.#server
      .stderr()
      .split('\n')
      .filter((line) => line.includes(ended) || !/^(\{"level":"(warn|info)".*)?$/.test(line))
      .slice(0, 20)
      .map((line) => `the server said: ${line.slice(0, 500)}`);
    const pids = await pidsOf(this.#server);
    if (pids.edge !== this.#pids.edge) problems.push('the edge is another process');
    if (pids.store !== this.#pids.store) problems.push('the store is another process');
    return problems;
  }

  /** Every sender has gone away, so the edge has closed what they left. */
  async #checkConnections(): Promise<readonly string[]> {
    const isClosed = async () => {
      return (await openFiles(this.#pids.edge)) <= this.#filesAtStart + filesMoreMax;
    };
    await eventually('connections of senders that left are closed', isClosed, patienceMs);
    return [];
  }

  /** It stops when it is told to, with nobody to wait for. */
  async #checkDrain(): Promise<readonly string[]> {
    const startedAtMs = performance.now();
    const code = await this.#server.stop();
    const seconds = (performance.now() - startedAtMs) / 1000;
    if (code === 0 && seconds < drainSecondsMax) return [];
    return [`it stopped with ${code} after ${Math.round(seconds)} s`];
  }

  /** A good event is taken and found; `flush` answers. */
  async #checkFresh(key: string): Promise<readonly string[]> {
    const headers = { 'X-TD-Write-Key': key };
    const response = await this.#server.post('fuzz_end/fresh', { fresh: 1 }, headers);
    const problems = [];
    if (response.status !== 200) problems.push(`a good event is answered ${response.status}`);
    await this.#server.flush();
    const [row] = await this.#query<{ n: number }>('SELECT count(*) AS n FROM fuzz_end.fresh');
    if (row?.n !== 1) problems.push(`a good event is in ${row?.n} rows`);
    return problems;
  }

  /** All that is durable is in the store, once every connection's last event is. */
  async #readState(): Promise<{ state: State; problems: readonly string[] }> {
    let seen: Counted | undefined;
    const isSettled = async () => {
      seen = await this.#count();
      return seen.durable === seen.stored && seen.remainder === 0 && seen.bodyBytes === 0;
    };
    const problems: string[] = [];
    await eventually('durable events are all stored', isSettled, patienceMs).catch(() => {
      problems.push(`the promise: ${JSON.stringify({ ...seen, lines: undefined })}`);
    });
    const { lines, durable, quarantined, tables, failures } = seen ?? (await this.#count());
    if (failures > 0) problems.push(`${failures} loads failed`);
    const strange = lines.filter((line) => !isKnownSeries(line)).slice(0, 5);
    problems.push(...strange.map((line) => `a metric with a label from outside: ${line}`));
    if (lines.length > seriesMax) problems.push(`${lines.length} metric series`);
    return { state: { series: lines.length, tables, durable, quarantined }, problems };
  }

  async #count(): Promise<Counted> {
    await this.#server.flush();
    const response = await fetch(`${this.#server.admin}/metrics`);
    const text = await response.text();
    const lines = text.split('\n').filter((line) => /^[^#]/.test(line));
    const sum = (name: string) =>
      lines
        .filter((line) => line.startsWith(`${name}{`))
        .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    const [row] = await this.#query<{ rows: number; quarantined: number; tables: number }>(
      `SELECT (SELECT coalesce(sum(rows + duplicates), 0)::BIGINT FROM millrace.tables) AS rows,
        (SELECT count(*) FROM millrace.quarantine) AS quarantined,
        (SELECT count(*) FROM millrace.tables) AS tables`,
    );
    const { rows = NaN, quarantined = NaN, tables = NaN } = row ?? {};
    return {
      lines,
      durable: sum('millrace_events_durable_total'),
      stored: rows + quarantined,
      quarantined,
      tables,
      bodyBytes: sum('millrace_edge_body_bytes'),
      remainder: sum('millrace_conservation_remainder'),
      failures: sum('millrace_loader_failures_total'),
    };
  }

  /** After a first third to warm up, memory no longer grows and grows. */
  #checkMemory(): readonly string[] {
    const third = (from: number, to: number) =>
      this.#samples.filter(({ share }) => share >= from / 3 && share < to / 3);
    const [middle, last] = [third(1, 2), third(2, 4)];
    return (['edge', 'store'] as const).flatMap((name) => {
      const [before, after] = [middle, last].map((part) => median(part.map((one) => one[name])));
      if (before === undefined || after === undefined) return [];
      const isClear = after > growthMax * before && after - before > growthBytesMax;
      const mib = [before, after].map((bytes) => Math.round(bytes / 1024 / 1024));
      return isClear ? [`the ${name} grows: ${mib[0]} MiB, then ${mib[1]} MiB`] : [];
    });
  }

  async #query<Row>(sql: string): Promise<readonly Row[]> {
    const response = await fetch(`${this.#server.admin}/query`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ sql }),
    });
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as Row[];
  }
}

type State = Pick<Ended, 'series' | 'tables' | 'durable' | 'quarantined'>;
type Counted = Omit<State, 'series'> & {
  readonly lines: readonly string[];
  readonly stored: number;
  /** Of requests that are over by now. */
  readonly bodyBytes: number;
  readonly remainder: number;
  readonly failures: number;
};

const ended = 'a process ended';

/** Labels take their values from these lists alone. */
const labels: Readonly<Record<string, (value: string) => boolean>> = {
  process: (value) => /^(edge-0|store|supervisor)$/.test(value),
  route: (value) => routeNames.has(value),
  code: (value) => /^[1-5]\d\d$/.test(value),
  reason: (value) => value in catalogue || quarantineReason.test(value),
  le: (value) => /^([\d.]+|\+Inf)$/.test(value),
  version: (value) => /^\d+\.\d+\.\d+$/.test(value),
};
const routeNames = new Set<string>([
  ...routes.map(({ name }) => name),
  'page',
  'other',
  'malformed',
]);
const quarantineReason =
  /^(unknown_key|key_revoked|key_not_allowed|too_many_tables|[a-z]+_[a-z_]+)$/;

function isKnownSeries(line: string): boolean {
  const text = /^\w+(?:\{(.*)\})? [-+.\deInfNa]+$/.exec(line)?.[1];
  if (text === undefined) return false;
  const pairs = text.split(',').map((pair) => /^(\w+)="([^"]*)"$/.exec(pair));
  return pairs.every((pair) => labels[pair?.[1] ?? '']?.(pair?.[2] ?? '') === true);
}

async function pidsOf(server: TestServer): Promise<Record<'edge' | 'store', number>> {
  const processes = await serverProcesses(server.process.pid ?? 0);
  const pid = (name: string) => processes.find((one) => one.name === name)?.pid ?? 0;
  return { edge: pid('edge-0'), store: pid('store') };
}

async function openFiles(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`).catch(() => [])).length;
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
}

function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
