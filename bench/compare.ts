import { mkdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../src/base/index.ts';
import { bytes, table } from '../src/cli/render.ts';
import { acks, cores as twoCores, ndjson, type Reached } from './compare/acks.ts';
import { warnings } from './compare/baseline.ts';
import { memory, start } from './compare/edges.ts';
import { findGenerator } from './compare/generator.ts';
import { rows, tables } from './compare/growth.ts';
import { latency } from './compare/latency.ts';
import { type Finding, type Findings, type LineName, lines } from './compare/lines.ts';
import { millraceVersion } from './compare/millrace.ts';
import { findPeers } from './compare/peers.ts';
import {
  acksPlot,
  lineHead,
  lineRows,
  markdown,
  merged,
  reachedHead,
  reachedRows,
  type Report,
  writePage,
} from './compare/report.ts';
import type { Run } from './compare/run.ts';
import { cores, machineFacts, machineLines, pin } from './machine.ts';
import { freshDirectory, Interrupted, progress, runScript } from './server.ts';

/* Millrace beside other collectors, and beside what it is meant to be, in one run. */

type Measured = { readonly findings: Findings; readonly reached?: readonly Reached[] };
type Measurement = {
  readonly lines: readonly LineName[];
  /** Of the disk, at most. */
  readonly diskBytes: (run: Run) => number;
  readonly measure: (run: Run) => Promise<Measured>;
};

const baselinePath = join(import.meta.dirname, 'baseline.json');
const gb = 1e9;
/** A closed loop may leave so many bytes in a second: of the log, rows and what a peer keeps. */
const loopBytesPerSecond = 200e6;
const ofLoops = ({ seconds }: Run) => seconds * 2 * loopBytesPerSecond + gb;

const measurements: Readonly<Record<string, Measurement>> = {
  acks: { lines: ['edge', 'whole', 'fluent'], diskBytes: ofLoops, measure: acks },
  cores: { lines: ['cores'], diskBytes: ofLoops, measure: plain(twoCores) },
  ndjson: { lines: ['ndjson'], diskBytes: ofLoops, measure: plain(ndjson) },
  latency: {
    lines: ['latency', 'sync', 'latencyWhole', 'syncWhole'],
    diskBytes: ofLoops,
    measure: plain(latency),
  },
  memory: { lines: ['memory'], diskBytes: ofLoops, measure: plain(memory) },
  start: {
    lines: ['start'],
    diskBytes: ({ logBytes }) => logBytes + 2 * gb,
    measure: plain(start),
  },
  tables: { lines: ['tables'], diskBytes: ofLoops, measure: plain(tables) },
  rows: {
    lines: ['rows'],
    // Files, and the log of a day with its hot rows.
    diskBytes: ({ rows: [, many], ...run }) => many * 70 + ofLoops({ rows: [0, many], ...run }),
    measure: plain(rows),
  },
};

const help = `Usage: npm run bench:compare -- [options]

Measures each line against its target, and Millrace against the collectors that it finds here;
says what it did not find. Servers run on one core, the generator and this script on another.
The generator is wrk if it is there. Nothing is installed.

${Object.entries(measurements)
  .map(([name, { lines: own }]) => `  ${name.padEnd(8)} ${own.map((one) => lines[one].what)[0]}`)
  .join('\n')}

  --only NAME    one of these; can be given again for more of them
  --seconds N    length of each loop (default: 10)
  --rounds N     how often each is run, in turn; medians count (default: 3)
  --log-gb N     start: size of the log that nobody has loaded (default: 5)
  --tables N     tables: how many (default: 1000)
  --rows N       rows: how many are stored, against a hundredth of them (default: 100000000)
  --data DIR     an empty folder on the disk to measure; it stays, empty (default: a temporary one)
  --compare      warn of lines below 0.85 of what they were in bench/baseline.json
  --write DIR    write the page DIR/performance.md, its plot, and bench/baseline.json; lines that
                 were not measured stay as they were
  --json         print JSON

Exits with 1 when something acknowledged is missing or a line cannot be measured; not when a
line does not hold.

Examples:
  npm run bench:compare
  npm run bench:compare -- --only acks --seconds 5 --rounds 1
  npm run bench:compare -- --only rows --rows 10000000 --data /mnt/disk/bench
  npm run bench:compare -- --compare --write docs`;

function readOptions() {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const numbers = { seconds: text, rounds: text, 'log-gb': text, tables: text, rows: text };
  const files = { data: text, write: text };
  const flags = { compare: flag, json: flag, help: flag };
  const only = { type: 'string', multiple: true } as const;
  const { values } = parseArgs({ options: { ...numbers, ...files, ...flags, only } });
  const number = (name: keyof typeof numbers, fallback: number) => {
    const value = Number(values[name] ?? fallback);
    if (!(value > 0 && value < Infinity)) throw new Error(`--${name} takes a number above 0`);
    return name === 'log-gb' ? value : Math.ceil(value);
  };
  const chosen = values.only ?? Object.keys(measurements);
  for (const name of chosen) {
    const known = Object.keys(measurements).join(', ');
    if (!(name in measurements)) throw new Error(`--only takes one of ${known}`);
  }
  const many = number('rows', 100_000_000);
  return {
    ...values,
    chosen,
    sizes: {
      seconds: number('seconds', 10),
      rounds: number('rounds', 3),
      logBytes: number('log-gb', 5) * gb,
      tables: number('tables', 1_000),
      rows: [Math.ceil(many / 100), many] as const,
    },
  };
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options.help) return console.log(help);
  const directory = await freshDirectory('millrace-compare-', options.data);
  const folder = join(directory, 'run');
  try {
    await mkdir(folder);
    const machine = await machineFacts(folder);
    const places = await placesFor();
    const generator = await findGenerator(folder);
    const run: Run = { folder, generator, peers: await findPeers(), ...places, ...options.sizes };
    const found = [`Millrace ${await millraceVersion()}`, ...run.peers.map(({ said }) => said)];
    const apart = `servers on core ${run.servers[0]}, the generator on core ${run.own}`;
    const about = [
      ...machineLines(machine).split('\n'),
      found.join('; '),
      `${apart}: ${generator.name}, and an open loop of our own`,
    ];
    if (!options.json) console.log(`${about.join('\n')}\n`);
    const measured = await measureAll(run, options.chosen);
    const command = ['npm run bench:compare', ...argumentsFor()].join(' ');
    const date = new Date(systemClock.nowMs()).toISOString().slice(0, 10);
    const runs = [{ date, command }];
    const report = { runs, cpu: machine.cpuModel, machine: about, ...measured };
    await tell(report, options);
  } finally {
    await rm(options.data === undefined ? directory : folder, { recursive: true, force: true });
  }
}

/** The last core is ours, and the generator's; the servers have the others. */
async function placesFor(): Promise<Pick<Run, 'own' | 'servers' | 'isThirdCore'>> {
  const all = await cores();
  const own = all.at(-1);
  const [first, ...others] = all.slice(0, -1);
  if (own === undefined || first === undefined || !(await pin([own]))) {
    throw new Error("needs Linux's taskset (Debian: util-linux) and two processors");
  }
  return { own, servers: [first, ...others], isThirdCore: others.length > 0 };
}

/** What goes wrong with some lines is shown with the others. */
async function measureAll(
  run: Run,
  chosen: readonly string[],
): Promise<Pick<Report, 'lines' | 'reached'>> {
  let found: Findings = {};
  let reached: readonly Reached[] = [];
  for (const [name, measurement] of Object.entries(measurements)) {
    if (!chosen.includes(name)) continue;
    const folder = join(run.folder, name);
    try {
      await mkdir(folder);
      await mustHaveRoom(folder, measurement.diskBytes(run));
      const measured = await measurement.measure({ ...run, folder });
      found = { ...found, ...measured.findings };
      reached = measured.reached ?? reached;
    } catch (error) {
      if (error instanceof Interrupted) throw error;
      process.exitCode = 1;
      const missing = `FAILED: ${error instanceof Error ? error.message : String(error)}`;
      const all = measurement.lines.map((line): [string, Finding] => [line, { missing }]);
      found = { ...found, ...Object.fromEntries(all) };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    progress('');
  }
  return { lines: found, reached };
}

async function mustHaveRoom(folder: string, needed: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free < needed) throw new Error(`needs ${bytes(needed)} of the disk, ${bytes(free)} are free`);
}

async function tell(now: Report, options: ReturnType<typeof readOptions>): Promise<void> {
  const before = await readFile(baselinePath, 'utf8').then(
    (text) => JSON.parse(text) as Report,
    () => undefined,
  );
  if (options.json) console.log(JSON.stringify(now));
  else {
    console.log(table(lineHead, lineRows(now.lines)));
    if (now.reached.length > 0) console.log(`\n${table(reachedHead, reachedRows(now.reached))}`);
  }
  if (options.compare) {
    if (!before) console.error('there is no bench/baseline.json to compare with');
    else for (const warning of warnings(before, now)) console.error(`WARNING ${warning}`);
  }
  if (options.write !== undefined) {
    const report = merged(before, now);
    await writePage(options.write, 'compare', markdown(report), {
      'acks.svg': acksPlot(report.reached),
    });
    const short = (_: string, value: unknown) =>
      typeof value === 'number' ? Number(value.toPrecision(4)) : value;
    await writeFile(baselinePath, `${JSON.stringify(report, short, 2)}\n`);
  }
}

/** Of the command line, without what says where things go. */
function argumentsFor(): readonly string[] {
  const args = process.argv.slice(2).filter((one) => !['--compare', '--json'].includes(one));
  const kept = args.filter((one, at) => {
    return ![one, args[at - 1]].some((word) => word === '--write' || word === '--data');
  });
  return kept.length > 0 ? ['--', ...kept] : [];
}

function plain(measure: (run: Run) => Promise<Findings>): Measurement['measure'] {
  return async (run) => ({ findings: await measure(run) });
}

await runScript(main);
