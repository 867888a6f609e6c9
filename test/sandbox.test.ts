import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { refusedFunctions, refusedViews, tableFunctions } from '../src/store/guard.ts';
import { createKey, query, temporaryDirectory, TestServer } from './support/server.ts';

/* Every way that SQL has out of the tables is refused, and no text crashes the server. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start(directory.path);
  const key = await createKey(directory.path, 'shop');
  await server.post('shop/orders', '{"a":1,"o":{"b":[1,2]}}', { 'X-TD-Write-Key': key });
  await server.flush();
});
afterAll(async () => {
  await server.stop();
  await directory.remove();
  expect(server.stderr()).not.toContain('a process ended');
});

const ask = async (sql: string, more: object = {}) => {
  const response = await fetch(`${server.admin}/query`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ sql, ...more }),
  });
  return { status: response.status, text: await response.text() };
};

const store = () => readFile(join(directory.path, 'store', 'millrace-1.duckdb'));

describe('statements that are no SELECT', () => {
  test.each([
    'INSERT INTO shop.orders SELECT 1',
    'INSERT INTO shop.orders SELECT 1 RETURNING *',
    'UPDATE mr.cursors SET next = 0',
    'DELETE FROM millrace.quarantine',
    'MERGE INTO shop.orders USING (SELECT 1 a) s ON true WHEN MATCHED THEN DELETE',
    'TRUNCATE mr.cursors',
    'DROP VIEW shop.orders',
    'DROP SCHEMA shop CASCADE',
    'ALTER TABLE mr.cursors ADD COLUMN x INTEGER',
    'COMMENT ON TABLE mr.cursors IS NULL',
    'CREATE TABLE x (a INTEGER)',
    'CREATE TEMP TABLE x AS SELECT 1',
    "CREATE TEMP VIEW x AS FROM read_text('/etc/passwd')",
    "CREATE MACRO m() AS TABLE FROM read_text('/etc/passwd')",
    'CREATE TEMP MACRO m(x) AS json_structure(x)',
    'CREATE SEQUENCE s',
    "CREATE TYPE t AS ENUM ('a')",
    "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "COPY shop.orders TO '@DATA@/store/x.csv'",
    "COPY (SELECT 1) TO '@DATA@/store/staging/x.csv'",
    "COPY shop.orders FROM '@DATA@/keys.json'",
    'COPY FROM DATABASE "millrace-1" TO ml',
    "EXPORT DATABASE '@DATA@/store/staging'",
    "IMPORT DATABASE '@DATA@/store/staging'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '@DATA@/store/millrace-1.duckdb'",
    'EXPLAIN ANALYZE DELETE FROM mr.cursors',
    'EXPLAIN SELECT 1',
    "ATTACH '@DATA@/x.duckdb'",
    "ATTACH ':memory:' AS m",
    'DETACH ml',
    'USE ml',
    'INSTALL httpfs',
    'FORCE INSTALL httpfs',
    'LOAD httpfs',
    "LOAD '@DATA@/x.duckdb_extension'",
    'UPDATE EXTENSIONS',
    'SET enable_external_access = true',
    'SET GLOBAL threads = 1',
    'SET SESSION max_expression_depth = 1000000',
    'SET VARIABLE x = 1',
    'RESET lock_configuration',
    'PRAGMA enable_profiling',
    'PRAGMA database_list',
    "PRAGMA import_database('x')",
    'CALL force_checkpoint()',
    'CALL duckdb_secrets()',
    'CHECKPOINT',
    'VACUUM',
    'ANALYZE',
    'BEGIN',
    'COMMIT',
    'ROLLBACK',
    'PREPARE p AS SELECT 1',
    'EXECUTE p',
    'DEALLOCATE p',
    'SELECT 1; SELECT 2',
    'SELECT 1; DROP VIEW shop.orders',
    'SELECT 1 /* ; */; -- ;\nDROP VIEW shop.orders',
    "SELECT ';'; SET threads = 1",
    'WITH x AS (DELETE FROM mr.cursors RETURNING *) FROM x',
    'PIVOT shop.orders ON a',
    '',
    ';',
    '-- nothing',
    '/* nothing */',
  ])('%s', refused);
});

describe('files and settings', () => {
  test.each([
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM READ_TEXT('/etc/passwd')",
    `SELECT * FROM "read_text"('/etc/passwd')`,
    `SELECT * FROM main."read_text"('/etc/passwd')`,
    "SELECT 1 WHERE 'x' IN (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM range(1) t, LATERAL (FROM read_text('/etc/passwd'))",
    "WITH x AS (FROM read_text('/etc/passwd')) FROM x",
    "SELECT 1 UNION ALL SELECT content FROM read_text('/etc/passwd')",
    "SELECT 1 ORDER BY (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT a, row_number() OVER (ORDER BY (FROM read_text('/etc/passwd'))) FROM shop.orders",
    "DESCRIBE (FROM read_text('/etc/passwd'))",
    "SUMMARIZE '/etc/passwd'",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '@DATA@/store/staging/query-1.parquet'",
    `SELECT * FROM "@DATA@/store/staging/query-1".parquet`,
    "DESCRIBE '@DATA@/store/staging/query-1.parquet'",
    "SELECT * FROM 'query-1.parquet'",
    "SELECT * FROM '@DATA@/lake/shop/orders/**'",
    "SELECT * FROM read_parquet('@DATA@/lake/shop/orders/**')",
    "SELECT * FROM 'https://example.com/x.parquet'",
    "SELECT * FROM '*.csv'",
    "SELECT * FROM 'file:x'",
    "SELECT * FROM read_csv('@DATA@/keys.json')",
    "SELECT * FROM read_blob('@DATA@/store/millrace-1.duckdb')",
    "SELECT * FROM read_duckdb('@DATA@/store/millrace-1.duckdb')",
    "SELECT * FROM read_parquet(['@DATA@/store/staging/query-1.parquet'])",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM glob('@DATA@/**')",
    "SELECT * FROM query('DROP VIEW shop.orders')",
    "SELECT * FROM query_table('shop.orders')",
    "SELECT * FROM histogram('/etc/passwd', a)",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT json_serialize_plan('SELECT 1')",
    "SELECT json_deserialize_sql('{}')",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '/tmp/x')",
    'SELECT * FROM checkpoint()',
    'SELECT * FROM duckdb_secrets()',
    "SELECT * FROM which_secret('x', 's3')",
    'SELECT * FROM duckdb_settings()',
    'SELECT EXISTS (FROM enable_profiling())',
    'FROM pragma_database_list',
    'FROM pg_settings',
    'FROM "PG_CATALOG"."PG_SETTINGS"',
    'FROM system.main.duckdb_databases',
    "SELECT write_log('x')",
    "SELECT x.write_log() FROM (SELECT 'a' AS x)",
    "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    'SELECT pg_sleep(3600)',
    "SELECT nextval('s')",
    'SELECT * FROM nowhere.nothing',
    'SELECT 1\0; DROP VIEW shop.orders',
  ])('%s', refused);

  test('nor as a file that is made for the caller', async () => {
    for (const sql of [
      "SELECT 1) TO '@DATA@/store/staging/x.csv' (FORMAT csv); --",
      "SELECT 1) TO '@DATA@/store/millrace-1.duckdb' --",
      "FROM '@DATA@/store/staging/query-1.parquet'",
      'SELECT 1; SELECT 2',
      'DROP VIEW shop.orders',
      '',
    ]) {
      const before = await store();
      const asked = sql.replaceAll('@DATA@', directory.path);
      expect(await ask(asked, { format: 'parquet' }), sql).toMatchObject({ status: 400 });
      expect(await store()).toEqual(before);
    }
  });
});

describe('a call is found wherever it stands', () => {
  test.each([
    'SELECT a FROM shop.orders LIMIT length(@)',
    'SELECT a FROM shop.orders LIMIT 1 OFFSET length(@)',
    'SELECT DISTINCT ON (@) a FROM shop.orders',
    'SELECT a FROM shop.orders QUALIFY @ IS NULL',
    'SELECT a FROM shop.orders GROUP BY GROUPING SETS ((a, @))',
    'SELECT a FROM shop.orders GROUP BY a HAVING @ IS NULL',
    'SELECT sum(a) FILTER (WHERE @ IS NULL) FROM shop.orders',
    'SELECT list(a ORDER BY @) FROM shop.orders',
    'SELECT sum(a) OVER (ROWS length(@) PRECEDING) FROM shop.orders',
    'SELECT sum(a) OVER w FROM shop.orders WINDOW w AS (PARTITION BY @)',
    'SELECT list_transform([1], lambda x: @)',
    'SELECT [@ FOR x IN [1] IF @ IS NULL]',
    'SELECT COLUMNS(lambda c: @ = c) FROM shop.orders',
    'SELECT * REPLACE (@ AS a) FROM shop.orders',
    'SELECT * FROM shop.orders AT (VERSION => @)',
    'SELECT * FROM shop.orders UNPIVOT (v FOR n IN (a, @))',
    'SELECT * FROM (PIVOT shop.orders ON a IN (1) USING min(@))',
    'SELECT * FROM shop.orders x JOIN shop.orders y ON @ IS NULL',
    'SELECT * FROM range(length(@))',
    'WITH RECURSIVE t(a) USING KEY (a) AS (SELECT 1 UNION SELECT length(@)) FROM t',
    'WITH t AS MATERIALIZED (SELECT @) FROM t',
    'FROM (VALUES (@))',
    'SELECT CASE @ WHEN 1 THEN 1 END',
    'SELECT {a: [@]}',
    'SELECT (SELECT @)::VARCHAR',
    'SELECT @ COLLATE nocase',
    'SELECT try(@)',
  ])('%s', async (template) => {
    await refused(template.replaceAll('@', "getenv('HOME')"));
    await refused(template.replaceAll('@', "(SELECT content FROM read_text('/etc/passwd'))"));
  });
});

async function refused(template: string): Promise<void> {
  const before = await store();
  const { status, text } = await ask(template.replaceAll('@DATA@', directory.path));
  expect(text).toMatch(/^\{"error":/);
  expect(text).not.toContain(directory.path);
  expect(status).toBe(400);
  expect(await store()).toEqual(before);
}

test('after all that, everything is as it was', async () => {
  expect(await query(directory.path, 'SELECT a FROM shop.orders')).toEqual([{ a: 1 }]);
});

describe('what the engine has', () => {
  const namesOf = async (types: string) => {
    const sql = `SELECT DISTINCT function_name AS name FROM duckdb_functions()
      WHERE internal AND function_type IN (${types}) ORDER BY ALL`;
    return (await server.query<{ name: string }>(sql)).map(({ name }) => name);
  };

  test('of functions that make tables, those that are not on the list are refused', async () => {
    const names = await namesOf("'table', 'table_macro'");
    expect(names.length).toBeGreaterThan(80);
    expect(names).toEqual(expect.arrayContaining([...tableFunctions]));
    for (const name of names.filter((one) => !tableFunctions.has(one))) {
      const { text } = await ask(`SELECT * FROM "${name}"()`);
      expect(JSON.parse(text), name).toMatchObject({ code: 'QUERY_REFUSED' });
    }
  });

  test('pragmas are refused, also called', async () => {
    const names = await namesOf("'pragma'");
    expect(names.length).toBeGreaterThan(40);
    for (const sql of names.flatMap((name) => [`PRAGMA ${name}`, `CALL ${name}()`])) {
      const { text } = await ask(sql);
      // Some need a value, which they lack, before they could do anything.
      expect(JSON.parse(text), sql).toMatchObject({
        code: expect.stringMatching(/^QUERY_(REFUSED|FAILED)$/),
      });
    }
  });

  /** Whoever takes a new engine looks at what is new in it, and adds it here or refuses it. */
  test('of other functions there is none that nobody has looked at', async () => {
    const known = await readFile(new URL('values/functions.txt', import.meta.url), 'utf8');
    const names = await namesOf("'scalar', 'aggregate', 'macro'");
    expect(names).toEqual(known.trim().split(/\s+/).sort());
    const there = [...refusedFunctions].filter((name) => name !== 'getenv');
    expect(names).toEqual(expect.arrayContaining(there));
    for (const name of refusedFunctions) {
      const { text } = await ask(`SELECT ${name}('1', '1')`);
      expect(JSON.parse(text), name).toMatchObject({ code: 'QUERY_REFUSED' });
    }
  });

  test('macros call nothing that is refused', async () => {
    const macros = await server.query<{ name: string; body: string }>(`
      SELECT function_name AS name, macro_definition AS body FROM duckdb_functions()
      WHERE function_type = 'macro'`);
    const called = macros
      .filter(({ name }) => !refusedFunctions.has(name))
      .filter(({ body }) => [...refusedFunctions].some((name) => body?.includes(`${name}(`)));
    expect(called).toEqual([]);
  });

  test('its views are shown, or refused', async () => {
    const shown = `character_sets check_constraints columns constraint_column_usage
      constraint_table_usage key_column_usage referential_constraints schemata table_constraints
      tables views duckdb_columns duckdb_constraints duckdb_indexes duckdb_schemas duckdb_tables
      duckdb_types duckdb_views sqlite_master sqlite_schema sqlite_temp_master sqlite_temp_schema
      pg_am pg_attrdef pg_attribute pg_class pg_collation pg_constraint pg_depend pg_description
      pg_enum pg_index pg_indexes pg_namespace pg_proc pg_sequence pg_sequences pg_tables pg_type
      pg_views`.split(/\s+/);
    const views = await server.query<{ schema: string; name: string }>(`
      SELECT schema_name AS schema, view_name AS name FROM duckdb_views() WHERE internal`);
    expect(views.map(({ name }) => name).sort()).toEqual([...shown, ...refusedViews].sort());
    for (const { schema, name } of views) {
      const { status } = await ask(`SELECT count(*) FROM ${schema}.${name}`);
      expect(status, name).toBe(refusedViews.has(name) ? 400 : 200);
    }
  });
});

describe('texts that would crash the engine, or keep it', () => {
  const deep = "(repeat('[', 1000000) || repeat(']', 1000000))";
  const deepObject = `(repeat('{"a":', 1000000) || '1' || repeat('}', 1000000))`;
  test.each([
    ['brackets', `SELECT ${'('.repeat(100_000)}1${')'.repeat(100_000)}`],
    ['queries in each other', `SELECT ${'(SELECT '.repeat(5000)}1${')'.repeat(5000)}`],
    ['lists in each other', `SELECT ${'['.repeat(100_000)}${']'.repeat(100_000)}`],
    ['one NOT after another', `SELECT ${'NOT '.repeat(200_000)}true`],
    ['a long sum', `SELECT 1${'+1'.repeat(200_000)}`],
    ['a column in many parts', `SELECT x${'.a'.repeat(200_000)} FROM (SELECT 1 AS x)`],
    ['a type of many dimensions', `SELECT NULL::INTEGER${'[]'.repeat(300_000)}`],
    ['many conditions', `SELECT 1 AS a WHERE a = 1${' OR a = 2'.repeat(50_000)}`],
    ['many parts put together', `SELECT 1${' UNION ALL SELECT 1'.repeat(20_000)}`],
    ['json_contains', `SELECT json_contains(${deep}, '1')`],
    ['json_structure', `SELECT json_structure(${deep})`],
    ['json_group_structure', `SELECT json_group_structure(${deep}::JSON)`],
    ['json_merge_patch', `SELECT json_merge_patch('{}', ${deepObject})`],
    ['from_json', `SELECT from_json('[]', ${deep})`],
    ['from_json, a constant', `SELECT from_json('[]', '${'['.repeat(100_000)}')`],
    ['json_transform', `SELECT json_transform('{}', ${deepObject})`],
    ['a column as structure', 'SELECT json_transform(o, o::VARCHAR) FROM shop.orders'],
    ['a variant', `SELECT ${deep}::JSON::VARIANT`],
    ['a variant, quoted', `SELECT CAST(${deep}::JSON AS "variant")`],
    ['a variant in a structure', `SELECT TRY_CAST(${deep}::JSON AS STRUCT(a VARIANT[]))`],
  ])('%s', async (_name, sql) => {
    expect(await ask(sql)).toMatchObject({ status: 400 });
  });

  test('a file of a statement with a long gap in it', async () => {
    const sql = `SELECT 1${' '.repeat(1_000_000)}AS x;; \n`;
    expect(await ask(sql, { format: 'parquet' })).toMatchObject({ status: 200 });
  });

  test.each([
    ['deep JSON is no error', `SELECT json_valid(${deep}) AS x`],
    ['a structure that is a constant', `SELECT from_json('[1]', '["VARCHAR"]') AS x`],
    ['a long list', `SELECT 1 AS x WHERE 1 IN (1${', 2'.repeat(50_000)})`],
    [
      'many columns',
      `SELECT 1 AS x${Array.from({ length: 2000 }, (_, i) => `, ${i} AS c${i}`).join('')}`,
    ],
  ])('but: %s', async (_name, sql) => {
    expect(await ask(sql)).toMatchObject({ status: 200 });
  });
});
