import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { eventBytes } from './events.ts';
import type { Times } from './load-log.ts';
import { loadLog } from './loading.ts';
import { prepareLog } from './misfit-log.ts';
import { medianOf } from './percentiles.ts';
import { freshDirectory, runScript } from './server.ts';
import { type Way, ways } from './ways.ts';

/*
 * What misfits cost the loader: a log of events that fit is loaded, and the same log with one in
 * a hundred of them spoilt, in turn.
 */

const help = `Usage: npm run bench:misfits -- [options]

Loads a log of ${eventBytes}-byte events, and the same with 1 % of them misfits, in
${ways.length} ways, each as often. Fails unless every event is a row, in quarantine or a repeat.

  --events N    events of each log (default: 1000000)
  --rounds N    how often each log is loaded (default: 3)
  --way NAME    misfits of this way only; can be given again for more of them
  --data DIR    an empty folder on the disk to measure (default: a temporary one)
  --json        print JSON

Ways:
${namesOf(ways)}

Examples:
  npm run bench:misfits
  npm run bench:misfits -- --events 100000 --way repeat
  npm run -s bench:misfits -- --rounds 5 --json`;

type Load = Times & { readonly log: string };

function readOptions() {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const numbers = { events: text, rounds: text };
  const { values } = parseArgs({
    options: { ...numbers, way: { ...text, multiple: true }, data: text, json: flag, help: flag },
  });
  const count = (name: keyof typeof numbers, fallback: number) => {
    const value = Number(values[name] ?? fallback);
    if (!(Number.isInteger(value) && value > 0)) throw new Error(`--${name} takes a whole number`);
    return value;
  };
  const chosen = values.way?.map((name) => wayOf(name)) ?? ways;
  return { ...values, events: count('events', 1_000_000), rounds: count('rounds', 3), chosen };
}

function wayOf(name: string): Way {
  const found = ways.find((way) => way.name === name);
  if (!found) throw new Error(`--way takes one of\n${namesOf(ways)}`);
  return found;
}

function namesOf(all: readonly Way[]): string {
  return all.map(({ name }) => `  ${name}`).join('\n');
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options.help) return console.log(help);
  const { events, rounds, chosen } = options;
  const data = await freshDirectory('millrace-misfits-', options.data);
  try {
    const clean = await prepareLog('clean', join(data, 'clean'), events, []);
    const spoilt = await prepareLog('misfits', join(data, 'misfits'), events, chosen);
    const loads: Load[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      for (const log of [clean, spoilt]) {
        const loaded = join(data, 'loaded');
        const times = await loadLog(log, loaded);
        await rm(loaded, { recursive: true });
        loads.push({ log: log.name, ...times });
        if (!options.json) console.log(lineOf(log.name, times));
      }
    }
    const [cleanMedian, misfitsMedian] = [clean, spoilt].map(({ name }) => {
      return medianOf(loads.filter(({ log }) => log === name));
    }) as [Times, Times];
    const ratio = {
      elapsed: misfitsMedian.elapsedMs / cleanMedian.elapsedMs,
      cpu: misfitsMedian.cpuMs / cleanMedian.cpuMs,
    };
    if (options.json) {
      const names = chosen.map(({ name }) => name);
      const median = { clean: cleanMedian, misfits: misfitsMedian };
      return console.log(JSON.stringify({ events, ways: names, loads, median, ratio }));
    }
    console.log(lineOf('median, clean', cleanMedian));
    console.log(lineOf('median, misfits', misfitsMedian));
    console.log(`ratio ${ratio.elapsed.toFixed(2)}, by processor time ${ratio.cpu.toFixed(2)}`);
    console.log('every event is a row, in quarantine or a repeat, as it must be');
  } finally {
    await rm(data, { recursive: true });
  }
}

function lineOf(name: string, { elapsedMs, cpuMs }: Times): string {
  const [elapsed, cpu] = [elapsedMs, cpuMs].map((ms) => Math.round(ms).toLocaleString('en-US'));
  return `${name.padEnd(15)} ${elapsed?.padStart(9)} ms, of a processor ${cpu?.padStart(9)} ms`;
}

await runScript(main);
