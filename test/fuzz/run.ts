import { readFile, rm } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { freshDirectory, runScript, withServer } from '../../bench/server.ts';
import { table } from '../../src/cli/render.ts';
import type { TestServer } from '../support/server.ts';
import { campaign, type Case, type Finding, makeCase, makeKeys, play } from './fuzz.ts';
import { serverArgs, type Summary, targetOf } from './fuzz.ts';
import { type Keys, seedRequests } from './seeds.ts';

const help = `Usage: npm run fuzz -- [options]

Sends requests of every form, bent and torn, to a server of its own, and looks whether it lives,
answers well and loses nothing. Exits with 1 if anything was found.

  --requests N    how many (default: 100000)
  --seed N        the same seed sends the same (default: a new one)
  --index N       sends only this case of the seed, and prints what came of it
  --replay FILE   sends the case in a file: as it was printed, or the bytes as a JavaScript string
  --json          print JSON

Examples:
  npm run fuzz -- --requests 10000
  npm run fuzz -- --seed 7 --index 1234
  npm run -s fuzz -- --replay finding.json`;

const printedMax = 4_000;

function readOptions() {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const numbers = { requests: text, seed: text, index: text };
  const { values } = parseArgs({ options: { ...numbers, replay: text, json: flag, help: flag } });
  const number = (name: keyof typeof numbers) => {
    const value = values[name];
    if (value !== undefined && !/^\d+$/.test(value)) throw new Error(`--${name} takes a number`);
    return value === undefined ? undefined : Number(value);
  };
  return {
    ...values,
    requests: number('requests') ?? 100_000,
    seed: number('seed') ?? Date.now() % 2 ** 31,
    index: number('index'),
  };
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options.help) return console.log(help);
  const data = await freshDirectory('millrace-fuzz-', undefined);
  try {
    const keys = await makeKeys(data);
    await withServer(data, serverArgs, (server) => run(server, keys, options));
  } finally {
    await rm(data, { recursive: true });
  }
}

async function run(
  server: TestServer,
  keys: Keys,
  options: ReturnType<typeof readOptions>,
): Promise<void> {
  const { seed, index, replay, requests } = options;
  if (replay !== undefined) return again(server, readCase(await readFile(replay, 'utf8')));
  if (index !== undefined) return again(server, makeCase(seedRequests(keys), seed, index));
  if (!options.json) console.log(`seed ${seed}`);
  let printedAtMs = 0;
  const progress = (count: number, findings: number) => {
    if (!process.stderr.isTTY || Date.now() - printedAtMs < 200) return;
    printedAtMs = Date.now();
    process.stderr.write(`\r\x1b[K${count} of ${requests} requests, ${findings} findings`);
  };
  const summary = await campaign(server, keys, { seed, requests, progress });
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  console.log(options.json ? JSON.stringify(summary) : draw(summary));
  if (summary.findings.length > 0) process.exitCode = 1;
}

/** A case as it was printed, or bytes to send as one. */
function readCase(text: string): Case {
  const read = JSON.parse(text) as Case | string;
  if (typeof read !== 'string') return read;
  const rest = { requests: 1, pauseMs: 0, ending: 'wait', crowd: 0 } as const;
  return { transport: 'plain', pieces: [read], ...rest };
}

async function again(server: TestServer, one: Case): Promise<void> {
  console.log(JSON.stringify(one));
  const outcome = await play(targetOf(server), one);
  console.log(JSON.stringify(outcome));
  console.error(server.stderr());
  if (outcome.problem !== undefined) process.exitCode = 1;
}

function draw(summary: Summary): string {
  const { answered, peakBytes, findings, seconds } = summary;
  const mib = (bytes: number) => Math.round(bytes / 1024 / 1024);
  const rows: [string, number][] = [
    ['requests', summary.requests],
    ['connections', summary.connections],
    ['seconds', Math.round(seconds)],
    ['seconds more until all was queryable', Math.round(summary.catchUpSeconds)],
    ...Object.entries(answered).map(([status, count]): [string, number] => {
      return [`answered ${status}`, count];
    }),
    ...Object.entries(summary.busy).map(([text, count]): [string, number] => [text, count]),
    ['answered over HTTP/2', summary.answeredHttp2],
    ['closed before an answer to all, connections', summary.closedUnanswered],
    ['peak memory of the edge, MiB', mib(peakBytes.edge)],
    ['peak memory of the store, MiB', mib(peakBytes.store)],
    ['metric series', summary.series],
    ['tables', summary.tables],
    ['durable events', summary.durable],
    ['of these in quarantine', summary.quarantined],
    ['findings', findings.length],
  ];
  return [table(['what', 'figure'], rows), ...findings.map(drawFinding)].join('\n');
}

function drawFinding({ problem, seed, index, case: one }: Finding): string {
  if (one === undefined) return `\nfinding: ${problem}\n  seed ${seed}`;
  const printed = JSON.stringify(one);
  const cut = printed.length > printedMax ? `${printed.slice(0, printedMax)}…` : printed;
  return `\nfinding: ${problem}\n  npm run fuzz -- --seed ${seed} --index ${index}\n${cut}`;
}

await runScript(main);
