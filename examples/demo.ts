import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { parseArgs, styleText } from 'node:util';
import { freshDirectory, runScript, withServer } from '../bench/server.ts';
import { createKey, millrace, query, type TestServer } from '../test/support/server.ts';

/*
 * Real webhooks become rows: starts a server, posts the payloads that GitHub's webhooks are
 * documented with, and asks SQL about them.
 */

type Recorded = { readonly name: string; readonly examples: readonly object[] };
type Payload = { readonly event: string; readonly body: object };

const help = `Usage: npm run demo -- [--data DIR]

Posts recorded GitHub webhooks to a server of its own and asks SQL about them.

  --data DIR   an empty folder to keep the data in (default: a new temporary one)`;

const questions = [
  {
    question: 'Which events came most often?',
    sql: `SELECT "table" AS event, rows FROM millrace.tables
ORDER BY rows DESC, event LIMIT 6`,
  },
  {
    question: 'Which repositories were pushed to, by whom, with how many commits?',
    sql: `SELECT repository->>'$.full_name' AS repository, pusher->>'$.name' AS pushed_by, ref,
  count(*) AS pushes, sum(json_array_length(commits))::INTEGER AS commits
FROM github.push GROUP BY ALL ORDER BY pushes DESC`,
  },
  {
    question: 'Which jobs of workflows ended, where, and how?',
    sql: `SELECT repository->>'$.full_name' AS repository, workflow_job->>'$.name' AS job,
  workflow_job->>'$.conclusion' AS conclusion, sender->>'$.login' AS started_by
FROM github.workflow_job WHERE action = 'completed' ORDER BY ALL`,
  },
];

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { data: { type: 'string' }, help: { type: 'boolean' } },
  });
  if (values.help) return console.log(help);
  const data = await freshDirectory('millrace-demo-', values.data);
  const payloads = recordedPayloads();
  console.log(bold(`\nMillrace: ${payloads.length} GitHub webhooks become rows\n`));
  const isComplete = await withServer(data, ['--log-level', 'warn'], async (server) => {
    done(`a server takes postbacks on ${server.ingest}`);
    await postAll(server, payloads);
    await timed('all of them are queryable', () => server.flush());
    for (const { question, sql } of questions) await ask(data, question, sql);
    return verify(data, payloads);
  });
  if (!isComplete) process.exitCode = 1;
  console.log(`
The server has stopped; the data lies in ${data}. Ask it more:

  npm run -s millrace -- query --data ${quoted(data)} \\
    "SELECT action, sender->>'login' AS who FROM github.star"
`);
}

function recordedPayloads(): readonly Payload[] {
  const require = createRequire(import.meta.url);
  const index = '@octokit/webhooks-examples/api.github.com/index.json';
  const recorded = require(index) as readonly Recorded[];
  return recorded.flatMap(({ name, examples }) => examples.map((body) => ({ event: name, body })));
}

/** Posts each payload to the table of its event, one after the other, as its webhook would. */
async function postAll(server: TestServer, payloads: readonly Payload[]): Promise<void> {
  const key = await createKey(server.data, 'github');
  const tables = new Set(payloads.map(({ event }) => event)).size;
  const text = `${payloads.length} payloads were posted and acknowledged, for ${tables} tables`;
  await timed(text, async () => {
    for (const [index, { event, body }] of payloads.entries()) {
      showProgress(`posting ${index + 1} of ${payloads.length}`);
      // A webhook of GitHub cannot send a header of ours, so its URL carries the key.
      const response = await server.post(`github/${event}?td_write_key=${key}`, body, {
        'User-Agent': 'GitHub-Hookshot/044aadd',
        'X-GitHub-Event': event,
        'X-GitHub-Delivery': randomUUID(),
      });
      const answer = await response.text();
      if (!response.ok) throw new Error(`${event} was refused: ${response.status} ${answer}`);
    }
  });
}

/** Asks as anyone would: by the command line. */
async function ask(data: string, question: string, sql: string): Promise<void> {
  const { code, stdout, stderr } = await millrace(['query', '--data', data, sql]);
  if (code !== 0) throw new Error(stderr);
  console.log(
    `\n${bold(question)}\n\n${indent(styleText('dim', sql))}\n\n${indent(stdout.trimEnd())}`,
  );
}

/** Counts the rows of every table. */
async function verify(data: string, payloads: readonly Payload[]): Promise<boolean> {
  const tables = [...new Set(payloads.map(({ event }) => event))];
  const counts = tables.map((table) => `SELECT count(*) AS n FROM github."${table}"`);
  const [total] = await query<{ n: number }>(
    data,
    `SELECT sum(n)::BIGINT AS n FROM (${counts.join(' UNION ALL ')})`,
  );
  const isComplete = total?.n === payloads.length;
  const line = `${total?.n} of ${payloads.length} payloads are rows`;
  console.log(`\n${isComplete ? `${mark()} ${bold(line)}` : styleText('red', `✗ ${line}`)}`);
  return isComplete;
}

async function timed(text: string, work: () => Promise<void>): Promise<void> {
  const startedAtMs = performance.now();
  await work();
  done(
    `${text} ${styleText('dim', `(${((performance.now() - startedAtMs) / 1000).toFixed(1)} s)`)}`,
  );
}

function showProgress(text: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K  ${text}`);
}

function done(text: string): void {
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
  console.log(`${mark()} ${text}`);
}

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

function mark(): string {
  return styleText('green', '✓');
}

function bold(text: string): string {
  return styleText('bold', text);
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}

await runScript(main);
