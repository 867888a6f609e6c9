import { systemClock } from '../base/index.ts';
import { DuckBooks } from './books.ts';
import type { DuckWriter } from './duckdb.ts';
import { withStoreFile } from './inspect.ts';
import { vectorRows } from './chores.ts';

/** A table of the engine that was made anew of what could be read. */
export type Mended = { readonly name: string; readonly kept: number; readonly lost: number };

/**
 * Makes tables of the engine anew, without the rows that cannot be read, and puts the books right:
 * what is lost is counted as dropped.
 * @param names as `inspectStore` gives them
 */
export function mendTables(
  dataDirectory: string,
  names: readonly string[],
): Promise<readonly Mended[]> {
  return withStoreFile(dataDirectory, 'READ_WRITE', async (engine) => {
    const mended: Mended[] = [];
    for (const name of names) mended.push(await mendTable(engine, name));
    await engine.transact(() => settle(engine));
    return mended;
  });
}

/** Moves a cursor forward: what the log lacks is never loaded. */
export function moveCursor(dataDirectory: string, shard: number, next: number): Promise<void> {
  return withStoreFile(dataDirectory, 'READ_WRITE', async (engine) => {
    await engine.run(`UPDATE mr.cursors SET next = greatest(next, ${next}) WHERE shard = ${shard}`);
  });
}

async function mendTable(engine: DuckWriter, name: string): Promise<Mended> {
  const copy = `${name}_mended`;
  await engine.run(`DROP TABLE IF EXISTS ${copy}`);
  await engine.run(`CREATE TABLE ${copy} AS FROM ${name} LIMIT 0`);
  // Neither reads a value.
  const [found] = await engine.all(`
    SELECT count(*)::BIGINT AS n, coalesce(max(rowid), -1)::BIGINT AS last FROM ${name}`);
  const [rows, end] = [Number(found?.n), Number(found?.last) + 1];
  const into = (from: number, to: number) =>
    engine.run(`INSERT INTO ${copy}
      SELECT * FROM ${name} WHERE rowid >= ${from} AND rowid < ${to}`);
  await copyReadable(into, 0, end);
  const [copied] = await engine.all(`SELECT count(*)::BIGINT AS n FROM ${copy}`);
  await engine.transact(async () => {
    await engine.run(`DROP TABLE ${name}`);
    await engine.run(`ALTER TABLE ${copy} RENAME TO ${name.slice(name.indexOf('.') + 1)}`);
  });
  const kept = Number(copied?.n);
  return { name, kept, lost: rows - kept };
}

/** Halves what cannot be copied at once, down to what the engine reads together. */
async function copyReadable(
  copy: (from: number, to: number) => Promise<void>,
  from: number,
  to: number,
): Promise<void> {
  if (from >= to) return;
  try {
    await copy(from, to);
  } catch {
    const half = Math.ceil((to - from) / 2 / vectorRows) * vectorRows;
    if (to - from <= vectorRows) return;
    await copyReadable(copy, from, from + half);
    await copyReadable(copy, from + half, to);
  }
}

/** As part of the open transaction: the books say what is there. */
async function settle(engine: DuckWriter): Promise<void> {
  const books = new DuckBooks(engine, engine, engine, () => Promise.resolve());
  for (const { database, table, lost } of await lostRows(engine)) {
    await books.remove(database, table, lost, 'dropped');
  }
  const [parked] = await engine.all(`
    SELECT (SELECT coalesce(sum(quarantined), 0) FROM mr.ledger)::BIGINT
      - (SELECT count(*) FROM mr.parked) AS lost`);
  if (Number(parked?.lost) > 0) await books.removeParked(Number(parked?.lost));
  // What lines of the ledger are lost is told by what they were of.
  const minute = Math.floor(systemClock.nowMs() / 60_000);
  await engine.run(`INSERT INTO mr.ledger
    SELECT ${minute}, t."database", t.name, '*', n, n, 0, 0, 0, 0
    FROM (SELECT "database", name, rows - coalesce((
        SELECT sum(committed) FROM mr.ledger l
        WHERE l."database" = r."database" AND l."table" = r.name), 0)::BIGINT AS n
      FROM mr.tables r) t WHERE n > 0`);
  if (Number(parked?.lost) < 0) {
    const n = -Number(parked?.lost);
    const counts = `${n}, 0, ${n}, 0, 0, 0`;
    await engine.run(`INSERT INTO mr.ledger VALUES (${minute}, '*', '*', '*', ${counts})`);
  }
}

async function lostRows(engine: DuckWriter) {
  const lost: { database: string; table: string; lost: number }[] = [];
  const names = new Set(
    (await engine.all("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'mr'")).map(
      (row) => row.table_name as string,
    ),
  );
  for (const row of await engine.all('SELECT id, "database", name, rows FROM mr.tables')) {
    const id = Number(row.id);
    const parts = [`hot_${id}`, `sealed_${id}`].filter((name) => names.has(name));
    const counts = parts.map((name) => `SELECT count(*) AS n FROM mr.${name}`);
    counts.push(`SELECT count(*) FROM mr.fresh WHERE table_id = ${id}`);
    counts.push(`SELECT coalesce(sum(rows), 0) FROM mr.files WHERE table_id = ${id}`);
    const [found] = await engine.all(`
      SELECT sum(n)::BIGINT AS n FROM (${counts.join(' UNION ALL ')})`);
    const missing = Number(row.rows) - Number(found?.n);
    const [database, table] = [row.database as string, row.name as string];
    if (missing > 0) lost.push({ database, table, lost: missing });
  }
  return lost;
}
