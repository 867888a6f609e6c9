import type { DuckWriter } from './duckdb.ts';
import { lakeSql, readFiles, readSealed } from './lake-catalog.ts';
import { receiptSql } from './receipts.ts';
import { macrosSql } from './td-macros.ts';
import type { Rows } from './rows.ts';
import { type Column, type ColumnType, skewBounds } from './types.ts';
import type { TableBatch } from './types.ts';
import { nowSql, type Relations, type StoredTable } from './views.ts';

/*
 * What is in the file besides the users' databases:
 *
 *   mr.tables     id, database, name, created_at, rows, duplicates
 *   mr.columns    table_id, ordinal, name, type, exact_as_double, since, rescued
 *   mr.cursors    shard, next
 *   mr.ids        high, low, digest, received_at: ids of events, to recognize repeats
 *   mr.parked     the events in quarantine
 *   mr.ledger     what was added to which account: see `Entry`
 *   mr.skew       what was added to which bucket: see `SkewCount`
 *   mr.dropped    database, table, shard, before: events that an operator dropped with their table
 *   mr.fresh      the newest rows of all tables, those that came few at a time
 *   mr.hot_<id>   the newest rows of a table
 *   mr.sealed_<id> rows on their way to files
 *   mr.files      the Parquet files of the lake: see `LakeFile`
 *   mr.retention  how long rows are kept: see `Retention`
 *   mr.lake       where the lake was when the views were made
 *   millrace.*    what users may read about all this
 *   mm            nothing: the engine's main database
 *   ml.waiting    in memory: events that are in the log only, when somebody asked last
 *   ml.td         in memory: macros for users' SQL
 *
 * No user's database is called `mr`: their names have three characters at least. For the same
 * reason the file is not `millrace.duckdb`: a catalog and a schema of one name are ambiguous.
 */
export const fileName = 'millrace-1.duckdb';

/** Where users' SQL finds names without a schema. */
export const userPath = '"millrace-1".main,ml.td';
/** A file that is always empty and new: see `Duck.open`. */
export const emptyName = 'mm.duckdb';

/** What an event in quarantine counts for besides its texts. */
export const parkedOverheadBytes = 200;

/** Addresses that `millrace.auth_failures` names for one key and table. */
const addressesMax = 10;

/** Not kept: what is in it is told anew whenever somebody asks. */
const liveSql = `
ATTACH ':memory:' AS ml;
CREATE TABLE ml.waiting (
  shard BIGINT, "offset" BIGINT, minute BIGINT, "database" VARCHAR, "table" VARCHAR,
  key_id VARCHAR, events BIGINT);
${macrosSql}
`;

const create = `
BEGIN;
CREATE SCHEMA mr;
CREATE SCHEMA millrace;
CREATE TABLE mr.tables (
  id INTEGER, database VARCHAR, name VARCHAR, created_at TIMESTAMP, rows BIGINT);
CREATE TABLE mr.columns (
  table_id INTEGER, ordinal INTEGER, name VARCHAR, type VARCHAR, exact_as_double BOOLEAN,
  since TIMESTAMP, rescued BIGINT);
CREATE TABLE mr.cursors (shard INTEGER, next BIGINT);
CREATE TABLE millrace.quarantine (
  receipt VARCHAR, received_at TIMESTAMP, "database" VARCHAR, "table" VARCHAR, reason VARCHAR,
  key_fingerprint VARCHAR, body VARCHAR);
CREATE VIEW millrace.tables AS
  SELECT "database", name AS "table", rows, created_at FROM mr.tables ORDER BY ALL;
CREATE VIEW millrace.columns AS
  SELECT t."database", t.name AS "table", c.name AS "column", c.type, c.since, c.rescued
  FROM mr.columns c JOIN mr.tables t ON t.id = c.table_id ORDER BY t."database", t.name, c.ordinal;
COMMIT;
`;

const receiptOf = (text: string) =>
  `(split_part(${text}, '-', 1)::BIGINT << 48) | split_part(${text}, '-', 2)::BIGINT`;

/** Quarantine by receipt, ledger, clocks, dropped tables. What was there is booked as it is. */
const booksSql = `
BEGIN;
CREATE TABLE mr.parked AS
  SELECT ${receiptOf('receipt')} AS receipt, received_at, "database", "table", reason,
    key_fingerprint, dialect, context, body, '' AS address,
    '*' AS account_database, '*' AS account_table, '*' AS key_id,
    strlen(body) + strlen(context) + strlen("database") + strlen("table")
      + ${parkedOverheadBytes} AS bytes
  FROM millrace.quarantine;
DROP VIEW IF EXISTS millrace.auth_failures;
DROP TABLE millrace.quarantine;
CREATE TABLE mr.ledger (
  minute BIGINT, "database" VARCHAR, "table" VARCHAR, key_id VARCHAR, received BIGINT,
  committed BIGINT, quarantined BIGINT, deduplicated BIGINT, expired BIGINT, dropped BIGINT);
INSERT INTO mr.ledger
  SELECT epoch_ms(created_at) // 60000, "database", name, '*', rows + duplicates, rows, 0,
    duplicates, 0, 0 FROM mr.tables;
INSERT INTO mr.ledger
  SELECT epoch_ms(received_at) // 60000 AS minute, '*', '*', '*', count(*), 0, count(*), 0, 0, 0
  FROM mr.parked GROUP BY minute;
CREATE TABLE mr.skew (day BIGINT, key_id VARCHAR, bucket BIGINT, events BIGINT);
CREATE TABLE mr.dropped ("database" VARCHAR, "table" VARCHAR, shard BIGINT, before BIGINT);
CREATE VIEW millrace.quarantine AS
  SELECT ${receiptSql('receipt')} AS receipt, received_at, "database", "table", reason, key_id,
    key_fingerprint, address, dialect, context, bytes, body FROM mr.parked;
CREATE VIEW millrace.auth_failures AS
  SELECT key_fingerprint, key_id, reason, "database", "table", count(*) AS events,
    min(received_at) AS first_at, max(received_at) AS last_at,
    list_slice(list_sort(list(DISTINCT address) FILTER (address <> '')), 1, ${addressesMax})
      AS addresses
  FROM mr.parked
  WHERE reason IN ('unknown_key', 'key_revoked', 'key_expired', 'key_not_allowed')
  GROUP BY ALL ORDER BY last_at DESC;
CREATE VIEW millrace.ledger AS
  WITH lines AS (
    SELECT *, 0 AS waiting FROM mr.ledger
    UNION ALL
    SELECT minute, "database", "table", key_id, events, 0, 0, 0, 0, 0, events FROM ml.main.waiting
    LEFT JOIN mr.cursors USING (shard) WHERE "offset" >= coalesce(next, 0))
  SELECT epoch_ms(minute * 60000) AS minute, "database", "table", key_id,
    ${sums(['received', 'committed', 'waiting', 'quarantined', 'deduplicated'])},
    ${sums(['expired', 'dropped'])},
    sum(received - committed - waiting - quarantined - deduplicated - expired - dropped)::BIGINT
      AS remainder
  FROM lines GROUP BY ALL
  HAVING received <> 0 OR committed <> 0 OR waiting <> 0 OR quarantined <> 0 OR deduplicated <> 0
    OR expired <> 0 OR dropped <> 0
  ORDER BY ALL;
CREATE VIEW millrace.time_report AS
  SELECT key_id, ${sums(['events'])},
    coalesce(sum(events) FILTER (bucket IN (0, ${skewBounds.length})), 0)::BIGINT AS outside,
    coalesce(sum(events) FILTER (bucket = -1), 0)::BIGINT AS unreadable,
    ${skewColumns()}
  FROM mr.skew GROUP BY key_id ORDER BY key_id;
COMMIT;
`;

function sums(names: readonly string[]): string {
  return names.map((name) => `sum(${name})::BIGINT AS ${name}`).join(', ');
}

/** A column for each bucket of the skew: `below_m604800`, `from_m604800`, …, `from_259200`. */
function skewColumns(): string {
  const names = skewBounds.map((bound) => `from_${bound < 0 ? 'm' : ''}${Math.abs(bound)}_s`);
  return ['earlier', ...names]
    .map((name, bucket) => {
      return `coalesce(sum(events) FILTER (bucket = ${bucket}), 0)::BIGINT AS ${name}`;
    })
    .join(', ');
}

/** What earlier versions lack, with how to tell; a new store gets it at once. */
const upgrades = [
  {
    has: "FROM duckdb_tables() WHERE schema_name = 'mr' AND table_name = 'ids'",
    sql: `
BEGIN;
CREATE TABLE mr.ids (high BIGINT, low BIGINT, digest BIGINT, received_at BIGINT);
ALTER TABLE mr.tables ADD COLUMN duplicates BIGINT DEFAULT 0;
ALTER TABLE millrace.quarantine ADD COLUMN dialect VARCHAR DEFAULT 'postback';
ALTER TABLE millrace.quarantine ADD COLUMN context VARCHAR DEFAULT '{}';
CREATE OR REPLACE VIEW millrace.tables AS
  SELECT "database", name AS "table", rows, duplicates, created_at FROM mr.tables ORDER BY ALL;
COMMIT;
`,
  },
  {
    has: "FROM duckdb_tables() WHERE schema_name = 'mr' AND table_name = 'ledger'",
    sql: booksSql,
  },
  {
    has: "FROM duckdb_tables() WHERE schema_name = 'mr' AND table_name = 'files'",
    sql: lakeSql,
  },
  {
    has: "FROM duckdb_columns() WHERE schema_name = 'mr' AND column_name = 'plain_bytes'",
    sql: 'ALTER TABLE mr.files ADD COLUMN plain_bytes BIGINT DEFAULT 0',
  },
  {
    has: "FROM duckdb_tables() WHERE schema_name = 'mr' AND table_name = 'fresh'",
    // The views of tables, which know nothing of it, are made anew.
    sql: `
BEGIN;
CREATE TABLE mr.fresh (
  table_id INTEGER, time BIGINT, rescued VARCHAR, receipt BIGINT, cells VARCHAR[]);
DELETE FROM mr.lake;
COMMIT;
`,
  },
  {
    has: "FROM duckdb_columns() WHERE schema_name = 'mr' AND column_name = 'crcs'",
    sql: 'ALTER TABLE mr.files ADD COLUMN crcs UINTEGER[]',
  },
];

export type Catalog = {
  readonly tables: Map<string, StoredTable>;
  readonly cursors: Map<number, number>;
  readonly dropped: Dropped;
};

/** By table and shard: the offset before which its events were dropped with it. */
export type Dropped = Map<string, Map<number, number>>;

export function tableKey(database: string, table: string): string {
  return `${database}.${table}`;
}

/** Creates what is missing and reads what is there. */
export async function openCatalog(duck: DuckWriter): Promise<Catalog> {
  await duck.run(liveSql);
  const found = await duck.all("FROM duckdb_schemas() WHERE schema_name = 'mr'");
  // Nothing else is written to a store that exists: it must open on a full disk too.
  if (found.length === 0) await duck.run(create);
  for (const { has, sql } of upgrades) {
    if ((await duck.all(has)).length === 0) await duck.run(sql);
  }
  const tables = await readTables(duck);
  const cursors = new Map<number, number>();
  for (const row of await duck.all('FROM mr.cursors')) {
    cursors.set(Number(row.shard), Number(row.next));
  }
  const dropped: Dropped = new Map();
  for (const row of await duck.all('FROM mr.dropped')) {
    const name = tableKey(row.database as string, row.table as string);
    const shards = dropped.get(name) ?? new Map<number, number>();
    dropped.set(name, shards.set(Number(row.shard), Number(row.before)));
  }
  return { tables, cursors, dropped };
}

/** All tables that the catalog names, by name. */
export async function readTables(duck: DuckWriter): Promise<Map<string, StoredTable>> {
  const columns = await readColumns(duck);
  const files = await readFiles(duck);
  const sealed = await readSealed(duck);
  const tables = new Map<string, StoredTable>();
  for (const row of await duck.all('FROM mr.tables')) {
    const [id, database, table] = [Number(row.id), row.database as string, row.name as string];
    tables.set(tableKey(database, table), {
      id,
      database,
      table,
      columns: columns.get(id) ?? new Map<string, Column>(),
      sealed: sealed.get(id),
      files: files.get(id) ?? [],
    });
  }
  return tables;
}

async function readColumns(duck: DuckWriter): Promise<Map<number, Map<string, Column>>> {
  const columns = new Map<number, Map<string, Column>>();
  for (const row of await duck.all('FROM mr.columns ORDER BY table_id, ordinal')) {
    const id = Number(row.table_id);
    const name = row.name as string;
    const column = {
      name,
      type: row.type as ColumnType,
      exactAsDouble: row.exact_as_double === true,
    };
    columns.set(id, (columns.get(id) ?? new Map<string, Column>()).set(name, column));
  }
  return columns;
}

/**
 * The statements that turn `before` into `after`, view included; none when nothing changed.
 * Names are safe in SQL: databases, tables and columns hold only a-z, 0-9 and _.
 */
export function growth(
  relations: Relations,
  before: StoredTable | undefined,
  after: StoredTable,
): readonly string[] {
  if (before?.columns === after.columns) return [];
  const { id, database, table } = after;
  const hot = `mr.hot_${id}`;
  const columns = [...after.columns.values()];
  const news = columns.filter(({ name }) => !before?.columns.has(name));
  const typed = news.map(({ name, type }) => `"${name}" ${type}`);
  const sql: string[] = before
    ? typed.map((column) => `ALTER TABLE ${hot} ADD COLUMN ${column}`)
    : [
        `CREATE SCHEMA IF NOT EXISTS "${database}"`,
        `CREATE TABLE ${hot} (
          ${['time BIGINT', '_rescued_data VARCHAR', '_receipt BIGINT', ...typed].join(', ')})`,
        `INSERT INTO mr.tables VALUES (${id}, '${database}', '${table}', ${nowSql}, 0, 0)`,
      ];
  if (news.length > 0) {
    const rows = news.map((column) => {
      const { name, type, exactAsDouble } = column;
      const ordinal = columns.indexOf(column);
      return `(${id}, ${ordinal}, '${name}', '${type}', ${exactAsDouble}, ${nowSql}, 0)`;
    });
    sql.push(`INSERT INTO mr.columns VALUES ${rows.join(', ')}`);
  }
  for (const { name, type, exactAsDouble } of columns) {
    const old = before?.columns.get(name);
    if (!old) continue;
    if (old.type !== type) sql.push(`ALTER TABLE ${hot} ALTER COLUMN "${name}" TYPE ${type}`);
    if (old.type !== type || old.exactAsDouble !== exactAsDouble) {
      sql.push(`UPDATE mr.columns SET type = '${type}', exact_as_double = ${exactAsDouble}
        WHERE table_id = ${id} AND name = '${name}'`);
    }
  }
  return sql.length === 0 ? [] : [...sql, relations.view(after)];
}

/** Reads the file of `rows` at `path` as rows of a table, in the order of `rowColumns`. */
export function selectRows(rows: Rows, path: string): string {
  // What is known to be JSON is cast: that leaves its text as it is.
  const values = [...rows.columns.values()].map(({ type }, index) => {
    return type === 'JSON' ? `c${index}::JSON` : `c${index}`;
  });
  return `SELECT ${values.join(', ')} FROM read_parquet('${path.replaceAll("'", "''")}')`;
}

/** The columns that rows have values in. */
export function rowColumns(rows: Rows): string {
  return [...rows.columns.keys()].map((name) => `"${name}"`).join(', ');
}

/** The statements that count what was written to tables. */
export function countsSql(batches: readonly (TableBatch & StoredTable)[]): readonly string[] {
  const rescued = batches.flatMap((batch) => {
    return [...batch.rescued].map(([name, count]) => `(${batch.id}, '${name}', ${count})`);
  });
  const sql: string[] = [];
  if (batches.length > 0) {
    // The engine reads long texts at a quarter of the cost of as many rows of VALUES.
    const numbers = (of: (batch: TableBatch & StoredTable) => number) => {
      return `unnest(string_split('${batches.map(of).join()}', ',')::BIGINT[])`;
    };
    sql.push(`UPDATE mr.tables SET rows = rows + added, duplicates = duplicates + repeated
      FROM (SELECT ${numbers(({ id }) => id)} AS table_id,
        ${numbers(({ rows }) => rows.count)} AS added,
        ${numbers(({ duplicates }) => duplicates)} AS repeated)
      WHERE id = table_id`);
  }
  if (rescued.length > 0) {
    sql.push(`UPDATE mr.columns SET rescued = rescued + added
      FROM (VALUES ${rescued.join(', ')}) AS counts (id, column_name, added)
      WHERE table_id = id AND name = column_name`);
  }
  return sql;
}
