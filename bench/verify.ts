import { query, type TestServer } from '../test/support/server.ts';
import { firstId } from './events.ts';

export type Stored = {
  readonly acknowledged: number;
  /** Acknowledged ids that are in exactly one row. */
  readonly once: number;
  readonly missing: number;
  readonly twice: number;
  /** Rows whose id was refused or never sent. */
  readonly strange: number;
  /** What SQL counts. */
  readonly rows: number;
  readonly distinctIds: number;
  readonly isRight: boolean;
};

/** Compares the id of every row with what was acknowledged: of `sent` ids all but the refused. */
export async function verify(
  server: TestServer,
  sent: number,
  refusedIds: readonly number[],
): Promise<Stored> {
  const rowsOf = new Uint8Array(sent);
  let strange = 0;
  for await (const id of storedIds(server, 'events')) {
    const index = id - firstId;
    if (index in rowsOf) rowsOf[index] = Math.min(255, (rowsOf[index] ?? 0) + 1);
    else strange += 1;
  }
  for (const id of refusedIds) {
    strange += rowsOf[id - firstId] ?? 0;
    rowsOf[id - firstId] = 0;
  }
  const acknowledged = sent - refusedIds.length;
  const once = rowsOf.reduce((sum, count) => sum + (count === 1 ? 1 : 0), 0);
  const twice = rowsOf.reduce((sum, count) => sum + (count > 1 ? 1 : 0), 0);
  const [counted] = await query<{ rows: number; ids: number }>(
    server.data,
    'SELECT count(*) AS rows, count(DISTINCT id) AS ids FROM bench.events',
  );
  const [rows, distinctIds] = [counted?.rows ?? 0, counted?.ids ?? 0];
  const isRight = [once, rows, distinctIds].every((count) => count === acknowledged);
  const missing = acknowledged - once - twice;
  return { acknowledged, once, missing, twice, strange, rows, distinctIds, isRight };
}

/** The id of every row. */
export async function* storedIds(server: TestServer, name: string): AsyncGenerator<number> {
  const response = await fetch(`${server.admin}/query`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ sql: `SELECT id FROM bench.${name}`, format: 'csv' }),
  });
  if (!response.ok || !response.body) throw new Error(`query: ${await response.text()}`);
  let rest = '';
  let isHeader = true;
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!isHeader) yield Number(line);
      isHeader = false;
    }
  }
  if (rest !== '') throw new Error('the list of ids was cut off');
}
