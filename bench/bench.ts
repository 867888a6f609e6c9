import { rm } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { table } from '../src/cli/render.ts';
import type { TestServer } from '../test/support/server.ts';
import { eventBytes } from './events.ts';
import type { Phase } from './load.ts';
import { LoadThread } from './load-thread.ts';
import { machineFacts, machineLines } from './machine.ts';
import { percentilesOf } from './percentiles.ts';
import { serverProcesses } from './processes.ts';
import { sampleLag } from './samples.ts';
import { freshDirectory, progress, runScript, withServer } from './server.ts';
import { verify } from './verify.ts';

/*
 * How fast a real server is on this machine. A closed loop finds the rate at which events become
 * durable; an open loop, at a rate below that, finds how long one sender waits.
 */

const help = `Usage: npm run bench -- [options]

Starts a server of its own, posts ${eventBytes}-byte events to it, one a request, and checks
that each acknowledged event is stored exactly once.

  --seconds N       length of each of the two loops (default: 10)
  --connections N   kept-alive connections (default: 64)
  --edges N         processes that take postbacks (default: 1)
  --rate N          events per second of the open loop (default: 60 % of the closed loop's)
  --data DIR        an empty folder on the disk to measure; it is kept (default: a temporary one)
  --json            print JSON

Examples:
  npm run bench
  npm run bench -- --seconds 30 --connections 256 --edges 2
  npm run -s bench -- --rate 1000 --data /mnt/disk/bench --json`;

const warmUpSeconds = 2;
const openLoopShare = 0.6;

type Options = ReturnType<typeof readOptions>;

function readOptions() {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const numbers = { seconds: text, connections: text, edges: text, rate: text };
  const { values } = parseArgs({ options: { ...numbers, data: text, json: flag, help: flag } });
  const number = (name: keyof typeof numbers, fallback: number) => {
    const value = Number(values[name] ?? fallback);
    if (!(value > 0 && value < Infinity)) throw new Error(`--${name} takes a number above 0`);
    return value;
  };
  const count = (name: 'connections' | 'edges', fallback: number) => {
    const value = number(name, fallback);
    if (!Number.isInteger(value)) throw new Error(`--${name} takes a whole number`);
    return value;
  };
  return {
    ...values,
    seconds: number('seconds', 10),
    connections: count('connections', 64),
    edges: count('edges', 1),
    rate: values.rate === undefined ? undefined : number('rate', 0),
  };
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options.help) return console.log(help);
  const data = await freshDirectory('millrace-bench-', options.data);
  let isKept = true;
  try {
    const machine = await machineFacts(data);
    const args = ['--log-level', 'warn', '--edges', String(options.edges)];
    const measured = await withServer(data, args, (server) => measure(server, options));
    const report = { machine, ...measured };
    console.log(options.json ? JSON.stringify(report) : draw(report));
    const { isRight } = report.stored;
    if (!isRight) process.exitCode = 1;
    isKept = !isRight || options.data !== undefined;
  } finally {
    if (isKept) console.error(`the data is in ${data}`);
    else await rm(data, { recursive: true });
  }
}

type Measured = Awaited<ReturnType<typeof measure>>;
type Report = Measured & { readonly machine: Awaited<ReturnType<typeof machineFacts>> };

async function measure(server: TestServer, options: Options) {
  const { seconds, connections, edges } = options;
  const supervisor = server.process.pid ?? 0;
  const pidsBefore = (await serverProcesses(supervisor)).map(({ pid }) => pid);
  const load = await LoadThread.start(server, { connections });
  const startedAtMs = performance.now();

  const warmUp = await runPhase('warm-up', server, load, { seconds: warmUpSeconds });
  const closed = await runPhase('closed loop', server, load, { seconds });
  const rate = options.rate ?? closed.durablePerSecond * openLoopShare;
  const paced = await runPhase('open loop', server, load, { seconds, ratePerSecond: rate });

  const elapsedMs = performance.now() - startedAtMs;
  await load.close();
  const processes = await serverProcesses(supervisor);
  if (processes.map(({ pid }) => pid).join() !== pidsBefore.join()) {
    throw new Error(`a process of the server was restarted:\n${server.stderr()}`);
  }
  progress('checking what is stored');
  const phases = [warmUp, closed, paced].map(({ result }) => result);
  const sent = phases.reduce((sum, phase) => sum + phase.sent, 0);
  const refusedIds = phases.flatMap((phase) => phase.refusedIds);
  const stored = await verify(server, sent, refusedIds);
  progress('');
  return {
    options: { seconds, connections, edges, eventBytes },
    closedLoop: {
      durablePerSecond: closed.durablePerSecond,
      queryablePerSecond: closed.queryablePerSecond,
      queryableAfterMs: closed.queryableAfterMs,
      lagMsMax: closed.lagMsMax,
    },
    openLoop: {
      ratePerSecond: rate,
      answeredPerSecond: paced.durablePerSecond,
      acknowledgedMs: percentilesOf(paced.result.latenciesMs),
      sentLateMs: percentilesOf(paced.result.lateMs),
      queryableAfterMs: paced.queryableAfterMs,
      lagMsMax: paced.lagMsMax,
    },
    wholeRun: {
      acknowledged: stored.acknowledged,
      refused: refusedIds.length,
      queryablePerSecond: (stored.acknowledged / elapsedMs) * 1000,
    },
    processes: processes.map(({ name, peakBytes }) => ({ name, peakBytes })),
    stored,
  };
}

/** Runs one phase and waits until all of it is queryable, so that the next begins with none. */
async function runPhase(name: string, server: TestServer, load: LoadThread, phase: Phase) {
  const rate = phase.ratePerSecond;
  progress(`${name}, ${phase.seconds} s${rate ? ` at ${Math.round(rate)} events/s` : ''}`);
  const stop = new AbortController();
  const startedAtMs = performance.now();
  const send = async () => {
    const result = await load.run(phase);
    const endedAtMs = performance.now();
    stop.abort();
    await server.flush();
    return { result, endedAtMs, flushedAtMs: performance.now() };
  };
  const [sending, lagsMs] = await Promise.all([send(), sampleLag(server, stop.signal)]);
  const { result, endedAtMs, flushedAtMs } = sending;
  const acknowledged = result.sent - result.refusedIds.length;
  return {
    result,
    durablePerSecond: (acknowledged / result.elapsedMs) * 1000,
    queryablePerSecond: (acknowledged / (flushedAtMs - startedAtMs)) * 1000,
    queryableAfterMs: flushedAtMs - endedAtMs,
    lagMsMax: percentilesOf(lagsMs).max,
  };
}

function draw(report: Report): string {
  const { machine, options, closedLoop, openLoop, wholeRun, processes, stored } = report;
  const { acknowledgedMs, sentLateMs } = openLoop;
  const mib = 1024 * 1024;
  const rows: [string, number, string][] = [
    ['closed loop: durable', Math.round(closedLoop.durablePerSecond), 'events/s'],
    ['closed loop: queryable', Math.round(closedLoop.queryablePerSecond), 'events/s'],
    ['  all queryable after its end', closedLoop.queryableAfterMs, 'ms'],
    ['  greatest lag seen', closedLoop.lagMsMax, 'ms'],
    ['open loop: offered', Math.round(openLoop.ratePerSecond), 'events/s'],
    ['open loop: answered', Math.round(openLoop.answeredPerSecond), 'events/s'],
    ['  acknowledged, p50', acknowledgedMs.p50, 'ms'],
    ['  acknowledged, p99', acknowledgedMs.p99, 'ms'],
    ['  acknowledged, p99.9', acknowledgedMs.p999, 'ms'],
    ['  acknowledged, max', acknowledgedMs.max, 'ms'],
    ['  of this, sent late by us, p99', sentLateMs.p99, 'ms'],
    ['  all queryable after its end', openLoop.queryableAfterMs, 'ms'],
    ['  greatest lag seen', openLoop.lagMsMax, 'ms'],
    ['whole run: acknowledged', wholeRun.acknowledged, 'events'],
    ['whole run: refused', wholeRun.refused, 'events'],
    ['whole run: queryable', Math.round(wholeRun.queryablePerSecond), 'events/s'],
    ...processes.map(({ name, peakBytes }): [string, number, string] => {
      return [`peak memory: ${name}`, peakBytes / mib, 'MiB'];
    }),
  ];
  const figures = rows.map(([, figure, unit]) => {
    const digits = unit === 'ms' ? 2 : 0;
    const precision = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    return figure.toLocaleString('en-US', precision);
  });
  const width = Math.max(...figures.map(({ length }) => length));
  const lines = rows.map(([metric, , unit], index) => {
    return [metric, `${figures[index]?.padStart(width)} ${unit}`];
  });
  return `
${machineLines(machine)}
${options.connections} connections, ${options.edges} edge(s), ${options.eventBytes}-byte events
${options.seconds} s a loop

${table(['metric', 'figure'], lines)}

${storedLine(stored)}`;
}

function storedLine({ acknowledged, once: stored, isRight, ...rest }: Measured['stored']): string {
  const line = `stored exactly once: ${stored} of ${acknowledged}`;
  return isRight ? line : `${line} ${JSON.stringify(rest)}`;
}

await runScript(main);
