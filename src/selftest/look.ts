import { fault } from '../base/index.ts';
import { database, type Row, tables } from './events.ts';
import { fates, type Ledger } from './ledger.ts';
import { Audit, type Findings, type Found } from './oracle.ts';
import type { Server } from './server.ts';

const timeoutMs = 3_600_000;
const parkedNumber = `try_cast(json_extract_string(body, '$.n') AS BIGINT)`;

/** Reads what is stored from a number on, and holds it against the ledger. */
export async function audit(
  server: Server,
  ledger: Ledger,
  from: number,
  isFinal: boolean,
): Promise<Findings> {
  const rows = tables.map((table) => {
    return `SELECT '${table}' AS "table", * EXCLUDE (time, _receipt) FROM ${database}.${table}
      WHERE n >= ${from} OR n IS NULL`;
  });
  // One statement sees one moment: an event on its way from quarantine to its table is in one.
  const sql = `${rows.join(' UNION ALL BY NAME ')} UNION ALL BY NAME
    SELECT "table", body FROM millrace.quarantine
      WHERE coalesce(${parkedNumber}, ${from}) >= ${from}`;
  const look = new Audit(ledger, from, isFinal);
  for await (const line of lines(server, sql)) look.see(foundIn(line));
  return look.close();
}

/** What is wrong with earlier events, by their sums: cheap, so that each round can look. */
export async function missingBefore(
  server: Server,
  ledger: Ledger,
  from: number,
): Promise<readonly string[]> {
  const counts = tables.map((table) => {
    return `(SELECT count(*) FROM ${database}.${table} WHERE n < ${from})`;
  });
  const sql = `SELECT (${counts.join(' + ')})::BIGINT AS rows, (SELECT count(DISTINCT n)
    FROM (SELECT ${parkedNumber} AS n FROM millrace.quarantine) WHERE n < ${from}) AS parked`;
  const least = ledger.count(fates.acknowledged, from);
  const most = least + ledger.count(fates.open, from);
  for await (const { rows, parked } of lines(server, sql)) {
    if (Number(rows) + Number(parked) >= least && Number(rows) <= most) return [];
    const seen = `${String(rows)} rows and ${String(parked)} events in quarantine`;
    return [`of earlier rounds there are ${seen}, of ${least} to ${most} events`];
  }
  return ['nothing is known of earlier rounds'];
}

/** Tables that nobody has sent events to. */
export async function strangeTables(server: Server): Promise<readonly string[]> {
  const found: string[] = [];
  const known = tables.map((table) => `${database}.${table}`);
  const sql = `SELECT "database" || '.' || "table" AS name FROM millrace.tables`;
  for await (const { name } of lines(server, sql)) found.push(String(name));
  return found.filter((name) => !known.includes(name)).map((name) => `ghosts: table ${name}`);
}

function foundIn({ table, body, ...row }: Row): Found {
  const place = String(table);
  // A row has no bytes: the column is NULL.
  if (body === null || body === undefined) return { kind: 'row', table: place, row };
  return { kind: 'parked', table: place, body: String(body) };
}

/** The rows of a query, one by one. */
export async function* lines(server: Server, sql: string): AsyncGenerator<Row> {
  const asked = { sql, format: 'ndjson', timeoutMs };
  const response = await server.ask('POST', '/query', asked);
  if (!response.body) return;
  let rest = '';
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const texts = (rest + piece).split('\n');
    rest = texts.pop() ?? '';
    for (const text of texts) yield JSON.parse(text) as Row;
  }
  if (rest !== '') throw fault('SELFTEST_FAILED', { seen: 'an answer was cut off' });
}
