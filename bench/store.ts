import { mkdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bytes, table } from '../src/cli/render.ts';
import { type LineName, lines, type Measured, type Measurement, type Options } from './lines.ts';
import { live } from './live.ts';
import { machineFacts, machineLines } from './machine.ts';
import { scans } from './scans.ts';
import { freshDirectory, progress, runScript } from './server.ts';
import { throughput } from './throughput.ts';

/* Whether the store is as fast, as small and as fresh as it is meant to be, on this machine. */

const measurements: readonly Measurement[] = [throughput, scans, ...live];
const names = Object.keys(lines) as LineName[];

const help = `Usage: npm run bench:store -- [options]

Measures these lines, and checks each time that every event is there once:

${names.map((name) => `  ${name.padEnd(8)} ${lines[name].what}: ${lines[name].target}`).join('\n')}

  --only NAME   this line only; can be given again for more of them
  --events N    load, archive, bytes: events of the log (default: 1000000)
  --rounds N    load, archive: how often; groupby, hour: at least 5 (default: 3)
  --rows N      groupby, hour: rows of the table (default: 50000000)
  --seconds N   fresh, tables: length of the load (default: 60 and 120)
  --rate N      steady: events per second (default: 5000)
  --minutes N   steady: length of the load (default: 60)
  --tables N    tables: how many (default: 1000)
  --data DIR    an empty folder on the disk to measure; it stays, empty (default: a temporary one)
  --json        print JSON

Exits with 1 when an event is missing or there twice, or a line cannot be measured; a line that
is measured and does not hold is shown as it is.

Examples:
  npm run bench:store
  npm run bench:store -- --only load --only archive --only bytes
  npm run bench:store -- --only steady --minutes 10 --data /mnt/disk/bench
  npm run -s bench:store -- --only hour --rows 5000000 --json`;

function readOptions() {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const list = { type: 'string', multiple: true } as const;
  const short = { rounds: text, rows: text, seconds: text, rate: text, minutes: text };
  const numbers = { events: text, tables: text, ...short };
  const { values } = parseArgs({
    options: { ...numbers, only: list, data: text, json: flag, help: flag },
  });
  const given = (name: keyof typeof numbers) => {
    if (values[name] === undefined) return undefined;
    const value = Number(values[name]);
    if (!(Number.isInteger(value) && value > 0)) throw new Error(`--${name} takes a whole number`);
    return value;
  };
  const only = values.only?.map((name) => {
    const found = names.find((known) => known === name);
    if (!found) throw new Error(`--only takes one of ${names.join(', ')}`);
    return found;
  });
  const options: Options = {
    events: given('events') ?? 1_000_000,
    rounds: given('rounds') ?? 3,
    rows: given('rows') ?? 50_000_000,
    seconds: given('seconds'),
    rate: given('rate') ?? 5_000,
    minutes: given('minutes') ?? 60,
    tables: given('tables') ?? 1_000,
  };
  const { data, json, help: isHelp } = values;
  return { options, chosen: new Set(only ?? names), data, json, isHelp };
}

type Outcome = Measured | { readonly failure: string };

async function main(): Promise<void> {
  const { options, chosen, data, json, isHelp } = readOptions();
  if (isHelp) return console.log(help);
  const directory = await freshDirectory('millrace-store-', data);
  try {
    const machine = await machineFacts(directory);
    const outcomes: Partial<Record<LineName, Outcome>> = {};
    for (const measurement of measurements) {
      const mine = measurement.lines.filter((name) => chosen.has(name));
      if (mine.length === 0) continue;
      const found = await attempt(measurement, mine, options, join(directory, mine.join('-')));
      for (const name of mine) {
        const outcome = found[name];
        if (!outcome) continue;
        outcomes[name] = outcome;
        progress('');
        console.error(`${name}: ${textOf(outcome)}`);
      }
    }
    const isRight = Object.values(outcomes).every((outcome) => !('failure' in outcome));
    if (!isRight) process.exitCode = 1;
    if (json) return console.log(JSON.stringify({ machine, options, lines: outcomes }));
    const rows = names.flatMap((name) => {
      const outcome = outcomes[name];
      if (!outcome) return [];
      return [[name, lines[name].what, lines[name].target, textOf(outcome), verdictOf(outcome)]];
    });
    console.log(`\n${machineLines(machine)}\n`);
    console.log(table(['line', '', 'target', 'measured', 'holds'], rows));
  } finally {
    if (data === undefined) await rm(directory, { recursive: true, force: true });
  }
}

/** What goes wrong with some lines is shown with the others. */
async function attempt(
  { measure, diskBytes }: Measurement,
  mine: readonly LineName[],
  options: Options,
  folder: string,
): Promise<Partial<Record<LineName, Outcome>>> {
  try {
    await mkdir(folder);
    const needed = diskBytes(options);
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize < needed) {
      throw new Error(`needs ${bytes(needed)} of the disk, ${bytes(bavail * bsize)} are free`);
    }
    return await measure(options, folder, new Set(mine));
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    return Object.fromEntries(mine.map((name) => [name, { failure }]));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function textOf(outcome: Outcome): string {
  return 'failure' in outcome ? `FAILED: ${outcome.failure}` : outcome.text;
}

function verdictOf(outcome: Outcome): string {
  if ('failure' in outcome) return 'FAILED';
  return outcome.holds ? 'yes' : 'no';
}

await runScript(main);
