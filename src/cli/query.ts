import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fault, messageOf } from '../base/index.ts';
import { defineCommand } from './command.ts';
import { ask, linesOf, openDoor, withRooms } from './door.ts';
import { count, table } from './render.ts';

export const queryCommand = defineCommand('query', {
  summary: 'run one SELECT; tables are called db.table',
  settings: ['data', 'format', 'json', 'file', 'after'],
  argument: '[sql]',
  examples: [
    'query "SELECT * FROM demo.events LIMIT 10"',
    'query --format json "SELECT count(*) AS n FROM demo.events"',
    'query --format csv --file report.sql > report.csv',
    'query "SELECT * FROM millrace.quarantine"',
    'query --after 0-000000000012345 "SELECT count(*) FROM demo.events"',
  ],
  run: async ({ data, format: asked, json, file, after }, argument) => {
    const sql = sqlOf(argument, file);
    const shown = asked ?? (json ? 'json' : 'table');
    const format = shown === 'table' ? 'rows' : shown;
    const door = await openDoor(data);
    if (door.kind === 'server') {
      const answer = await ask(door.server, 'POST', '/query', { sql, format, after });
      return print(answer, shown, String(answer.headers['x-millrace-complete-to'] ?? ''));
    }
    try {
      await withRooms(door.config, async ({ queries }) => {
        const query = await queries.run({ sql, format }, { after });
        await print(Readable.from(query.pieces()), shown, 'everything');
      });
    } finally {
      door.close();
    }
  },
});

function sqlOf(argument: string | undefined, file: string | undefined): string {
  if ((argument === undefined) === (file === undefined)) {
    throw fault('BAD_USAGE', {
      seen: 'give the SQL as one argument, or a file with --file',
      hint: 'For example: millrace query "SELECT * FROM demo.events"',
    });
  }
  if (argument !== undefined || file === undefined) return argument ?? '';
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw fault(
      'BAD_SETTING',
      { seen: `--file ${file} cannot be read: ${messageOf(error)}` },
      error,
    );
  }
}

/** @param complete up to when the tables held everything, as the query found them. */
async function print(answer: Readable, shown: string, complete: string): Promise<void> {
  if (shown !== 'table') {
    // The end of our own stdout is the reader's business: `| head` is no error.
    await pipeline(answer, process.stdout, { end: false }).catch(ignoreClosedPipe);
    return;
  }
  let columns: readonly { readonly name: string }[] = [];
  const rows: unknown[][] = [];
  let isFirst = true;
  for await (const line of linesOf(answer.setEncoding('utf8'))) {
    if (isFirst) columns = JSON.parse(line) as typeof columns;
    else rows.push(JSON.parse(line) as unknown[]);
    isFirst = false;
  }
  const names = columns.map(({ name }) => name);
  console.log(table(names, rows));
  const upTo = complete === '' ? '' : `; complete to ${complete}`;
  console.log(`(${count(rows.length, 'row')}${upTo})`);
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}
