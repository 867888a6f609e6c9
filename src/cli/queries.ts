import { Command } from 'commander';
import type { QueryReport } from '../admin/index.ts';
import { fault } from '../base/index.ts';
import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { askJson } from './door.ts';
import { bytes, table } from './render.ts';
import { readServerFile, type ServerFile } from './server-file.ts';

const list = defineCommand('list', {
  summary: 'queries that run now, the oldest first',
  settings: ['data', 'json'],
  examples: ['queries list'],
  run: async ({ data, json }) => {
    const server = readServerFile(data);
    const running = server ? await askJson<QueryReport[]>(server, 'GET', '/queries') : [];
    if (json) return console.log(JSON.stringify(running));
    if (running.length === 0) return console.log('no query is running');
    const rows = running.map(({ id, elapsedMs, rows: sent, bytes: size, sql }) => [
      id,
      `${(elapsedMs / 1000).toFixed(1)} s`,
      sent,
      bytes(size),
      sql.replace(/\s+/g, ' '),
    ]);
    console.log(table(['id', 'runs for', 'rows', 'bytes', 'sql'], rows));
  },
});

const cancel = defineCommand('cancel', {
  summary: 'end a query that runs; whoever asked gets an error',
  settings: ['data', 'json'],
  argument: '<id>',
  examples: ['queries cancel 7a06b152a640'],
  run: async ({ data, json }, id = '') => {
    const path = `/queries/${encodeURIComponent(id)}`;
    const report = await askJson<QueryReport>(serverOf(data, id), 'DELETE', path);
    if (json) return console.log(JSON.stringify(report));
    const isOurs = report.code === 'QUERY_CANCELLED';
    console.log(isOurs ? `${id} is cancelled` : `${id} had ended: ${report.error ?? 'it is done'}`);
  },
});

export const queriesCommand = new Command('queries')
  .description('look at the queries that run, and cancel one')
  .addCommand(list)
  .addCommand(cancel)
  .addHelpText(
    'after',
    `\nExamples:\n  ${invocation()} queries list\n  ${invocation()} queries cancel 7a06b152a640`,
  );

/** @throws NO_SUCH_QUERY where no server runs */
function serverOf(data: string, id: string): ServerFile {
  const server = readServerFile(data);
  if (!server) throw fault('NO_SUCH_QUERY', { seen: id });
  return server;
}
