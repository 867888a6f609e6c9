import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fault, messageOf } from '../base/index.ts';
import { defineCommand } from './command.ts';
import { linesOf } from './door.ts';
import { count, table } from './render.ts';
import { type SqlAnswer, type SqlAsked, withSql } from './sql.ts';

export const queryCommand = defineCommand('query', {
  summary: 'run one SELECT; tables are called db.table',
  settings: ['data', 'format', 'json', 'file', 'param', 'timeout', 'after'],
  argument: '[sql]',
  examples: [
    'query "SELECT * FROM demo.events LIMIT 10"',
    'query --format json "SELECT count(*) AS n FROM demo.events"',
    'query --format csv --file report.sql > report.csv',
    'query --format parquet "FROM demo.events" > events.parquet',
    "query --param web --param from=7 'FROM shop.orders WHERE kind = $1 AND id > $from'",
    'query "SELECT * FROM millrace.quarantine"',
    'query --after 0-000000000012345 "SELECT count(*) FROM demo.events"',
  ],
  run: async ({ data, format: asked, json, file, param, timeout, after }, argument) => {
    const sql = sqlOf(argument, file);
    const shown = asked ?? (json ? 'json' : 'table');
    const isBinary = shown === 'parquet' || shown === 'arrow';
    if (isBinary && process.stdout.isTTY) {
      const seen = `--format ${shown} is no text for a terminal`;
      throw fault('BAD_USAGE', { seen, hint: `Send it to a file: … > answer.${shown}` });
    }
    const format = shown === 'table' ? 'rows' : shown;
    const parameters = param.length > 0 ? parametersOf(param) : undefined;
    await withSql(data, async (query) => {
      await print(await query({ sql, format, parameters, timeoutMs: timeout, after }), shown);
    });
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

/** `NAME=VALUE` for $NAME, any other is $1, $2, …; numbers, true, false and null are these. */
function parametersOf(given: readonly string[]): SqlAsked['parameters'] {
  let last = 0;
  const entries = given.map((text) => {
    const [, name, value = text] = /^(\w+)=(.*)$/s.exec(text) ?? [];
    return [name ?? String((last += 1)), scalarOf(value)] as const;
  });
  return Object.fromEntries(entries);
}

function scalarOf(text: string): string | number | boolean | null {
  if (!/^(-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|null|".*")$/s.test(text)) return text;
  try {
    const value = JSON.parse(text) as string | number | boolean | null;
    // An integer that a number would round is for SQL to read.
    return Number.isInteger(value) && !Number.isSafeInteger(value) ? text : value;
  } catch {
    return text;
  }
}

async function print(answer: SqlAnswer, shown: string): Promise<void> {
  if (shown !== 'table') {
    // The end of our own stdout is the reader's business: `| head` is no error.
    const pieces = Readable.from(answer.pieces, { objectMode: false });
    await pipeline(pieces, process.stdout, { end: false }).catch(ignoreClosedPipe);
    return;
  }
  let columns: readonly { readonly name: string }[] = [];
  const rows: unknown[][] = [];
  let isFirst = true;
  const text = Readable.from(answer.pieces, { objectMode: false }).setEncoding('utf8');
  for await (const line of linesOf(text)) {
    if (isFirst) columns = JSON.parse(line) as typeof columns;
    else rows.push(JSON.parse(line) as unknown[]);
    isFirst = false;
  }
  const names = columns.map(({ name }) => name);
  console.log(table(names, rows));
  const upTo = answer.completeTo === '' ? '' : `; complete to ${answer.completeTo}`;
  console.log(`(${count(rows.length, 'row')}${upTo})`);
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}
