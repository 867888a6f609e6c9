import type { IncomingMessage } from 'node:http';
import { fault } from '../base/index.ts';
import { ask, askJson, openDoor, saidFault, withRooms } from './door.ts';
import type { ServerFile } from './server-file.ts';

/** What `POST /query` takes. */
export type SqlAsked = {
  readonly sql: string;
  readonly format: string;
  readonly parameters?: Readonly<Record<string, string | number | boolean | null>> | undefined;
  readonly after?: string | undefined;
  readonly timeoutMs?: number | undefined;
};

export type SqlAnswer = {
  /** Throws what ended the answer before its end. */
  readonly pieces: AsyncIterable<string | Uint8Array>;
  /** One for each shard: all before it is in the answer. */
  readonly watermark: readonly string[];
  /** Up to when the tables held everything, as the query found them; empty if nobody knows. */
  readonly completeTo: string;
};

/** Asks SQL. */
export type Sql = (asked: SqlAsked) => Promise<SqlAnswer>;

/** Opens a way to ask SQL: of the running server, or of the closed data directory. */
export async function withSql<T>(data: string, use: (sql: Sql) => Promise<T>): Promise<T> {
  const door = await openDoor(data);
  if (door.kind === 'server') return use((asked) => askServer(door.server, asked));
  try {
    return await withRooms(door.config, ({ queries }) =>
      use(async ({ after, format, ...asked }) => {
        const query = await queries.run({ ...asked, format: format as 'json' }, { after });
        const watermark = query.watermark.receipts;
        return { pieces: query.pieces(), watermark, completeTo: 'everything' };
      }),
    );
  } finally {
    door.close();
  }
}

/** The rows of a query that has few. */
export async function rowsOf<Row>(answer: SqlAnswer): Promise<readonly Row[]> {
  const pieces = [];
  for await (const piece of answer.pieces) pieces.push(Buffer.from(piece as string));
  return JSON.parse(Buffer.concat(pieces).toString('utf8')) as Row[];
}

async function askServer(server: ServerFile, asked: SqlAsked): Promise<SqlAnswer> {
  const answer = await ask(server, 'POST', '/query', asked);
  const header = (name: string) => String(answer.headers[`x-millrace-${name}`] ?? '');
  return {
    pieces: piecesOf(server, answer, header('query-id')),
    watermark: header('watermark').split(', ').filter(Boolean),
    completeTo: header('complete-to'),
  };
}

/** @throws why the server cut the answer, if it did */
async function* piecesOf(
  server: ServerFile,
  answer: IncomingMessage,
  id: string,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of answer) yield piece as Uint8Array;
  } catch (error) {
    type Report = { readonly error?: string; readonly code?: string };
    const report = await askJson<Report>(server, 'GET', `/queries/${id}`).catch(() => undefined);
    if (report?.error === undefined) throw fault('NO_ANSWER', { seen: 'the data' }, error);
    throw saidFault({ ...report, error: report.error });
  }
}
