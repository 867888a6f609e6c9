import { parseArgs } from 'node:util';
import { runScript } from '../../bench/server.ts';
import { table } from '../../src/cli/render.ts';
import { campaign, type Difference, missingIn, type Summary } from './campaign.ts';

const help = `Usage: npm run lanes -- [options]

Sends the same requests, most of them bent a little, to two edges: one with the hot lane, one
without. Both must answer the same and store the same. Exits with 1 if they do not, or if too few
requests were read by either lane to show it.

  --requests N    how many that are answered (default: 1000000)
  --seed N        the same seed sends the same (default: a new one)
  --sockets       over TCP, instead of in memory
  --json          print JSON

Examples:
  npm run lanes -- --requests 20000
  npm run lanes -- --requests 5000 --sockets --seed 7`;

function readOptions() {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const options = { requests: text, seed: text, sockets: flag, json: flag, help: flag };
  const { values } = parseArgs({ options });
  const number = (name: 'requests' | 'seed', otherwise: number) => {
    const value = values[name] ?? String(otherwise);
    if (!/^\d+$/.test(value)) throw new Error(`--${name} takes a number`);
    return Number(value);
  };
  const seed = number('seed', Date.now() % 2 ** 31);
  return { ...values, requests: number('requests', 1_000_000), seed };
}

async function main(): Promise<void> {
  const { help: isAsked, json, requests, seed, sockets: bySocket } = readOptions();
  if (isAsked) return console.log(help);
  if (!json) console.log(`seed ${seed}`);
  const progress = (count: number) => {
    if (process.stderr.isTTY) process.stderr.write(`\r${count} of ${requests} requests`);
  };
  const summary = await campaign({ seed, requests, bySocket, progress });
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  const missing = missingIn(summary);
  console.log(json ? JSON.stringify({ ...summary, missing }) : draw(summary, missing));
  if (summary.differences.length + missing.length > 0) process.exitCode = 1;
}

function draw(summary: Summary, missing: readonly string[]): string {
  const { answered, differences, seconds } = summary;
  const rows: (readonly [string, number])[] = [
    ['requests', summary.requests],
    ['sent', summary.sent],
    ['connections', summary.connections],
    ['seconds', Math.round(seconds)],
    ...Object.entries(answered).map(([status, count]) => [`answered ${status}`, count] as const),
    ['read by the hot lane', summary.byHotLane],
    ["read by Node's parser", summary.byNode],
    ['records', summary.records],
    ['differences', differences.length],
  ];
  return [table(['what', 'figure'], rows), ...differences.map(told), ...missing].join('\n');
}

/** As it is kept in `kept.jsonl`, and what came of it. */
function told({ seed, index, pieces, turns, on, off }: Difference): string {
  const kept = JSON.stringify({ why: '', pieces, turns });
  const came = `on:  ${JSON.stringify(on)}\noff: ${JSON.stringify(off)}`;
  return `\nseed ${seed}, case ${index}:\n${kept}\n${came}`;
}

await runScript(main);
