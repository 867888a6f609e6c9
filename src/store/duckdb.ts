import { basename } from 'node:path';
import {
  type DuckDBAppender,
  DuckDBArrayValue,
  type DuckDBConnection,
  DuckDBDecimalValue,
  DuckDBInstance,
  DuckDBListValue,
  DuckDBMapValue,
  type DuckDBResult,
  DuckDBStructValue,
  DuckDBTimestampValue,
  type DuckDBValue,
  StatementType,
} from '@duckdb/node-api';
import accessors from '@duckdb/node-api/lib/vectors/dataAccessors.js';
import { assert, fault, MillraceError, messageOf } from '../base/index.ts';
import { otherStatement, refusalOf } from './guard.ts';

// The driver's own decoder takes a byte order mark at the beginning of a text away.
Object.assign(accessors, { textDecoder: new TextDecoder('utf-8', { ignoreBOM: true }) });

/** A value that JSON can hold. Integers beyond 2^53 and exact decimals are strings. */
export type Plain =
  | null
  | boolean
  | number
  | string
  | readonly Plain[]
  | { readonly [name: string]: Plain };

/** The answer to a query: columns at once, rows as they come. */
export type RowSet = {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: AsyncIterable<readonly (readonly Plain[])[]>;
};

/** One DuckDB file. The only place that knows the driver. */
export class Duck {
  readonly #instance: DuckDBInstance;
  readonly #name: string;

  private constructor(instance: DuckDBInstance, name: string) {
    this.#instance = instance;
    this.#name = name;
  }

  /**
   * @param emptyPath of a file that is not there; its name is not that of a user's database. The
   *   engine takes `rowGroupRows` only for a file beside its main one, which is this.
   * @param rowGroupRows rows of a table that are stored together.
   */
  static async open(
    path: string,
    emptyPath: string,
    rowGroupRows: number,
    settings: Readonly<Record<string, string>>,
  ): Promise<Duck> {
    const instance = await DuckDBInstance.create(emptyPath, { ...settings });
    const duck = new Duck(instance, basename(path, '.duckdb'));
    const connection = await instance.connect();
    try {
      const file = path.replaceAll("'", "''");
      await connection.run(`ATTACH '${file}' AS "${duck.#name}" (ROW_GROUP_SIZE ${rowGroupRows})`);
    } catch (error) {
      instance.closeSync();
      throw error;
    } finally {
      connection.closeSync();
    }
    return duck;
  }

  async connect(): Promise<DuckWriter> {
    return new DuckWriter(await this.#connect());
  }

  async reader(): Promise<DuckReader> {
    return new DuckReader(await this.#connect());
  }

  async #connect(): Promise<DuckDBConnection> {
    const connection = await this.#instance.connect();
    await connection.run(`USE "${this.#name}"`);
    return connection;
  }

  close(): void {
    this.#instance.closeSync();
  }
}

/** A value that is appended as it is; undefined is NULL. */
export type Appended = string | Date | bigint | number | boolean | undefined;

function appendValue(appender: DuckDBAppender, value: Appended): void {
  switch (typeof value) {
    case 'undefined':
      return appender.appendNull();
    case 'string':
      return appender.appendVarchar(value);
    case 'bigint':
      return appender.appendBigInt(value);
    case 'number':
      return appender.appendDouble(value);
    case 'boolean':
      return appender.appendBoolean(value);
    case 'object':
      appender.appendTimestamp(new DuckDBTimestampValue(BigInt(value.getTime()) * 1000n));
  }
}

/** A connection for our own SQL. */
export class DuckWriter {
  readonly #connection: DuckDBConnection;
  #last: Promise<unknown> = Promise.resolve();

  constructor(connection: DuckDBConnection) {
    this.#connection = connection;
  }

  async run(sql: string): Promise<void> {
    await this.#inTurn(() => this.#connection.run(sql));
  }

  /** One statement after another: the driver gives up one when the next begins. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  /**
   * Runs work as one transaction.
   * @throws STORE_FAILED, or what the work threw of the catalogue: nothing of it is there;
   * STORE_INVALID: nobody knows.
   */
  async transact<T>(work: () => Promise<T>): Promise<T> {
    try {
      await this.run('BEGIN');
      const result = await work();
      await this.run('COMMIT');
      return result;
    } catch (error) {
      const seen = messageOf(error);
      const rolledBack = await this.run('ROLLBACK').then(
        () => true,
        () => false,
      );
      if (rolledBack && error instanceof MillraceError) throw error;
      throw fault(rolledBack ? 'STORE_FAILED' : 'STORE_INVALID', { seen }, error);
    }
  }

  async all(sql: string): Promise<readonly Record<string, Plain>[]> {
    const reader = await this.#inTurn(() => this.#connection.runAndReadAll(sql));
    return reader.convertRowObjects(plain);
  }

  /** Rows as they come; nothing else may use the connection meanwhile. */
  async *stream(sql: string): AsyncGenerator<readonly (readonly Plain[])[]> {
    yield* rowsOf(await this.#connection.stream(sql));
  }

  /** Appends rows to a table, as part of the open transaction, if there is one. */
  async append(
    schema: string,
    table: string,
    rows: Iterable<readonly Appended[]>,
    catalog?: string,
  ): Promise<void> {
    await this.#inTurn(() => this.#append(schema, table, rows, catalog));
  }

  async #append(
    schema: string,
    table: string,
    rows: Iterable<readonly Appended[]>,
    catalog: string | undefined,
  ): Promise<void> {
    const appender = await this.#connection.createAppender(table, schema, catalog);
    for (const row of rows) {
      assert(row.length === appender.columnCount, 'a row has all columns of its table');
      for (const value of row) appendValue(appender, value);
      appender.endRow();
    }
    appender.closeSync();
  }

  close(): void {
    this.#connection.closeSync();
  }
}

/** A connection for users' SQL: one SELECT at a time, which cannot change anything. */
export class DuckReader {
  readonly #connection: DuckDBConnection;

  constructor(connection: DuckDBConnection) {
    this.#connection = connection;
  }

  /** @throws QUERY_REFUSED when it is not one SELECT, QUERY_FAILED with the engine's text */
  async select(sql: string): Promise<RowSet> {
    try {
      const result = await this.#stream(sql);
      const types = result.columnTypes();
      const columns = result.deduplicatedColumnNames().map((name, index) => {
        const type = types[index];
        return { name, type: type?.alias ?? String(type) };
      });
      return { columns, rows: rowsOf(result) };
    } catch (error) {
      throw queryFault(error);
    }
  }

  async #stream(sql: string): Promise<DuckDBResult> {
    const text = sql.replaceAll("'", "''");
    const tree = await this.#connection.runAndReadAll(
      `SELECT json_serialize_sql('${text}'::VARCHAR)`,
    );
    const refusal = refusalOf(tree.getRows()[0]?.[0] as string);
    if (refusal !== undefined) {
      const word = /^\s*([a-z]+)/i.exec(sql)?.[1]?.toUpperCase();
      const isOther = refusal === otherStatement && word !== undefined;
      throw fault('QUERY_REFUSED', { seen: isOther ? word : refusal });
    }
    const statements = await this.#connection.extractStatements(sql);
    const statement = await statements.prepare(0);
    const kind = statement.statementType;
    if (statements.count !== 1 || kind !== StatementType.SELECT) {
      throw fault('QUERY_REFUSED', { seen: StatementType[kind] ?? 'another statement' });
    }
    await this.#connection.run('BEGIN TRANSACTION READ ONLY');
    return statement.stream();
  }

  /** Stops what runs; its `rows` end with an error. */
  interrupt(): void {
    this.#connection.interrupt();
  }

  close(): void {
    this.#connection.closeSync();
  }
}

async function* rowsOf(result: DuckDBResult): AsyncGenerator<readonly (readonly Plain[])[]> {
  try {
    for await (const rows of result.yieldConvertedRows(plain)) yield rows;
  } catch (error) {
    throw queryFault(error);
  }
}

function queryFault(error: unknown): unknown {
  const ours = error instanceof Error && error.name === 'MillraceError';
  return ours ? error : fault('QUERY_FAILED', { seen: messageOf(error) }, error);
}

function plain(value: DuckDBValue): Plain {
  if (value === null || typeof value !== 'object') {
    return typeof value === 'bigint' ? plainInteger(value) : plainScalar(value);
  }
  if (value instanceof DuckDBListValue || value instanceof DuckDBArrayValue) {
    return value.items.map(plain);
  }
  if (value instanceof DuckDBStructValue) {
    return Object.fromEntries(Object.entries(value.entries).map(([k, v]) => [k, plain(v)]));
  }
  if (value instanceof DuckDBMapValue) {
    return Object.fromEntries(
      value.entries.map((entry) => [String(entry.key), plain(entry.value)]),
    );
  }
  if (value instanceof DuckDBDecimalValue) return plainDecimal(value);
  return String(value);
}

function plainScalar(value: Exclude<DuckDBValue, bigint | object>): Plain {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : (value ?? null);
}

function plainInteger(value: bigint): number | string {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : String(value);
}

/** As a number where that is exact: up to 15 digits. */
function plainDecimal(value: DuckDBDecimalValue): number | string {
  const text = value.toString();
  return value.value > -(10n ** 15n) && value.value < 10n ** 15n ? Number(text) : text;
}
