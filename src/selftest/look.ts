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
  await mustHaveEnough(server, ledger, from);
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

/** How much there is of before: cheap, so that each round can look. @throws SELFTEST_FAILED */
async function mustHaveEnough(server: Server, ledger: Ledger, from: number): Promise<void> {
  const numbers = tables.map((table) => `SELECT n FROM ${database}.${table}`);
  const parked = `SELECT ${parkedNumber} AS n FROM millrace.quarantine`;
  const all = [...numbers, parked].join(' UNION ALL ');
  const sql = `SELECT (SELECT count(DISTINCT n) FROM (${all}) WHERE n < ${from}) AS n,
    (SELECT string_agg("database" || '.' || "table", ', ' ORDER BY "table")
      FROM millrace.tables) AS t`;
  for await (const { n, t } of lines(server, sql)) {
    const least = ledger.count(fates.acknowledged, from);
    const most = least + ledger.count(fates.open, from);
    if (Number(n) < least || Number(n) > most) {
      const seen = `${String(n)} events of earlier rounds are stored, expected ${least} to ${most}`;
      throw fault('SELFTEST_FAILED', { seen });
    }
    const expected = tables.map((table) => `${database}.${table}`).join(', ');
    if (t !== expected) throw fault('SELFTEST_FAILED', { seen: `the tables are ${String(t)}` });
  }
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
