import { basename, join } from 'node:path';
import {
  type DuckDBAppender,
  DuckDBArrayValue,
  DuckDBBlobValue,
  type DuckDBConnection,
  DuckDBDateValue,
  DuckDBDecimalValue,
  DuckDBInstance,
  DuckDBListValue,
  DuckDBMapValue,
  type DuckDBPreparedStatement,
  type DuckDBResult,
  DuckDBStructValue,
  DuckDBTimestampMillisecondsValue,
  DuckDBTimestampNanosecondsValue,
  DuckDBTimestampSecondsValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  type DuckDBValue,
  StatementType,
} from '@duckdb/node-api';
import accessors from '@duckdb/node-api/lib/vectors/dataAccessors.js';
import { assert, fault, limits, MillraceError, messageOf } from '../base/index.ts';
import { otherStatement, refusalOf, unreadable } from './guard.ts';

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

/** The value of a parameter. A whole number is a `BIGINT`, another one a `DOUBLE`. */
export type Parameter = null | boolean | number | string;
/** By position (`?`, `$1`) or by name (`$name`). */
export type Parameters = readonly Parameter[] | { readonly [name: string]: Parameter };

/**
 * A value of a column, exact: numbers of 64 bits and more, decimals without their point, and times
 * in the unit of their type are bigints; days are a number; what is nested is its JSON text.
 */
export type Exact = null | boolean | number | bigint | string | Uint8Array;

/** The answer to a query: columns at once, rows as they come, one way or the other. */
export type RowSet = {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: AsyncIterable<readonly (readonly Plain[])[]>;
  /** Some rows at a time, column by column. */
  readonly exact: AsyncIterable<readonly (readonly Exact[])[]>;
};

const engineSettings = {
  // Else memory that was used once stays with the process: 1.1 GB of a sort, for ever.
  allocator_background_threads: 'true',
  // Else what is staged stays in memory, though each file is read once: 60 MB a minute.
  enable_external_file_cache: 'false',
  max_temp_directory_size: `${limits.storeSpillBytesMax} B`,
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
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
    access: 'READ_ONLY' | 'READ_WRITE' = 'READ_WRITE',
  ): Promise<Duck> {
    const instance = await DuckDBInstance.create(emptyPath, { ...engineSettings, ...settings });
    const duck = new Duck(instance, basename(path, '.duckdb'));
    const connection = await instance.connect();
    try {
      const file = path.replaceAll("'", "''");
      const options = `${access}, ROW_GROUP_SIZE ${rowGroupRows}`;
      await connection.run(`ATTACH '${file}' AS "${duck.#name}" (${options})`);
      // Files never change: what their footers say is read once, and forgotten in want of memory.
      await connection.run('SET GLOBAL parquet_metadata_cache = true');
      // A checkpoint needs what `keepBlocks` does first.
      await connection.run('PRAGMA disable_checkpoint_on_shutdown');
    } catch (error) {
      instance.closeSync();
      throw error;
    } finally {
      connection.closeSync();
    }
    return duck;
  }

  /**
   * Works with an engine that has no file, but one thread and memory of its own.
   * @param spillDirectory of what goes beyond; it need not be there.
   */
  static async apart<T>(
    spillDirectory: string,
    work: (writer: DuckWriter) => Promise<T>,
  ): Promise<T> {
    const instance = await DuckDBInstance.create(':memory:', {
      ...engineSettings,
      temp_directory: spillDirectory,
      memory_limit: `${limits.mergeMemoryBytesMax} B`,
      threads: '1',
    });
    try {
      const writer = new DuckWriter(await instance.connect());
      return await work(writer).finally(() => writer.close());
    } finally {
      instance.closeSync();
    }
  }

  async connect(): Promise<DuckWriter> {
    return new DuckWriter(await this.#connect());
  }

  /**
   * @param path the schemas in which names without one are looked for.
   * @param directory where it may write files, which are gone when the store is opened again.
   * @param onClose is told when it reads no more.
   */
  async reader(path: string, directory: string, onClose: () => void): Promise<DuckReader> {
    const connection = await this.#instance.connect();
    await connection.run(`SET search_path = '${path}'`);
    return new DuckReader(connection, directory, onClose);
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
  if (value === undefined) appender.appendNull();
  else if (typeof value === 'string') appender.appendVarchar(value);
  else if (typeof value === 'bigint') appender.appendBigInt(value);
  else if (typeof value === 'number') appender.appendDouble(value);
  else if (typeof value === 'boolean') appender.appendBoolean(value);
  else appender.appendTimestamp(new DuckDBTimestampValue(BigInt(value.getTime()) * 1000n));
}

/** A connection for our own SQL. */
export class DuckWriter {
  readonly #connection: DuckDBConnection;
  #last: Promise<unknown> = Promise.resolve();
  /** After each commit, before anybody knows of it. */
  onCommit: () => Promise<void> = () => Promise.resolve();

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
      await this.onCommit();
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
    try {
      for (const row of rows) {
        assert(row.length === appender.columnCount, 'a row has all columns of its table');
        for (const value of row) appendValue(appender, value);
        appender.endRow();
      }
    } catch (error) {
      // Else it would write what it has when its memory is freed, in another transaction.
      appender.clear();
      throw error;
    } finally {
      appender.closeSync();
    }
  }

  close(): void {
    this.#connection.closeSync();
  }
}

let filesMade = 0;

/** A connection for users' SQL: one SELECT at a time, which cannot change anything. */
export class DuckReader {
  readonly #connection: DuckDBConnection;
  readonly #directory: string;
  readonly #onClose: () => void;

  constructor(connection: DuckDBConnection, directory: string, onClose: () => void) {
    this.#connection = connection;
    this.#directory = directory;
    this.#onClose = onClose;
  }

  /**
   * @throws QUERY_REFUSED when it is not one SELECT; QUERY_MEMORY; QUERY_FAILED with the engine's
   * text
   */
  async select(sql: string, parameters: Parameters = []): Promise<RowSet> {
    try {
      const statement = await this.#prepare(sql);
      bind(statement, parameters);
      await this.#connection.run('BEGIN TRANSACTION READ ONLY');
      const result = await statement.stream();
      const types = result.columnTypes();
      const columns = result.deduplicatedColumnNames().map((name, index) => {
        const type = types[index];
        return { name, type: type?.alias ?? String(type) };
      });
      return { columns, rows: rowsOf(result), exact: exactOf(result) };
    } catch (error) {
      throw queryFault(error);
    }
  }

  /** A file for an answer. */
  newFile(): string {
    filesMade += 1;
    return join(this.#directory, `query-${filesMade}.parquet`);
  }

  /**
   * Writes an answer to a file, as Parquet.
   * @returns how many rows it has.
   * @throws as `select`
   */
  async selectInto(path: string, sql: string, parameters: Parameters = []): Promise<number> {
    try {
      await this.#prepare(sql);
      // The text is one SELECT by itself, so it stays one between brackets.
      const text = withoutEnd(sql);
      const isShort = /^\s*(summarize|describe|desc|show)\b/i.test(text);
      const inner = isShort ? `FROM (${text}\n)` : text;
      const target = `'${path.replaceAll("'", "''")}' (FORMAT parquet, COMPRESSION zstd)`;
      const copy = await this.#connection.extractStatements(`COPY (\n${inner}\n) TO ${target}`);
      const statement = await copy.prepare(0);
      if (copy.count !== 1 || statement.statementType !== StatementType.COPY) {
        throw fault('QUERY_REFUSED', { seen: `${copy.count} statements` });
      }
      bind(statement, parameters);
      await this.#connection.run('BEGIN TRANSACTION READ ONLY');
      return (await statement.run()).rowsChanged;
    } catch (error) {
      throw queryFault(error);
    }
  }

  /** The statement, looked at: one SELECT that may run. */
  async #prepare(sql: string): Promise<DuckDBPreparedStatement> {
    const text = sql.replaceAll("'", "''");
    const tree = await this.#connection.runAndReadAll(
      `SELECT json_serialize_sql('${text}'::VARCHAR)`,
    );
    const refusal = refusalOf(tree.getRows()[0]?.[0] as string);
    // Throws what is wrong with the text, as the engine explains it.
    if (refusal === unreadable) await this.#connection.extractStatements(sql);
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
    return statement;
  }

  /** Memory of the whole engine that it cannot write to disk to make room, bytes. */
  async heldBytes(): Promise<number> {
    const rows = await this.#connection.runAndReadAll(
      "SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag = 'ALLOCATOR'",
    );
    return Number(rows.getRows()[0]?.[0]);
  }

  /** Stops what runs; its `rows` end with an error. */
  interrupt(): void {
    this.#connection.interrupt();
  }

  close(): void {
    this.#connection.closeSync();
    this.#onClose();
  }
}

async function* rowsOf(result: DuckDBResult): AsyncGenerator<readonly (readonly Plain[])[]> {
  try {
    for await (const rows of result.yieldConvertedRows(plain)) yield rows;
  } catch (error) {
    throw queryFault(error);
  }
}

async function* exactOf(result: DuckDBResult): AsyncGenerator<readonly (readonly Exact[])[]> {
  try {
    for (;;) {
      const chunk = await result.fetchChunk();
      if (!chunk || chunk.rowCount === 0) return;
      yield chunk.convertColumns(exact);
    }
  } catch (error) {
    throw queryFault(error);
  }
}

/** @throws QUERY_FAILED when they are not those of the statement */
function bind(statement: DuckDBPreparedStatement, parameters: Parameters): void {
  const names = Array.from({ length: statement.parameterCount }, (_, index) => {
    return statement.parameterName(index + 1);
  });
  const given = new Map(
    Array.isArray(parameters)
      ? parameters.map((value, index) => [String(index + 1), value as Parameter])
      : Object.entries(parameters),
  );
  const missing = names.filter((name) => !given.has(name)).map((name) => `$${name} has no value`);
  const extra = [...given.keys()].filter((name) => !names.includes(name));
  const seen = [...missing, ...extra.map((name) => `there is no $${name} in the SQL`)];
  if (seen.length > 0) throw fault('QUERY_FAILED', { seen: `Parameters: ${seen.join(', ')}` });
  names.forEach((name, index) => bindOne(statement, index + 1, given.get(name) ?? null));
}

function bindOne(statement: DuckDBPreparedStatement, index: number, value: Parameter): void {
  if (value === null) statement.bindNull(index);
  else if (typeof value === 'boolean') statement.bindBoolean(index, value);
  else if (typeof value === 'string') statement.bindVarchar(index, value);
  else if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    statement.bindBigInt(index, BigInt(value));
  } else statement.bindDouble(index, value);
}

function queryFault(error: unknown): unknown {
  if (error instanceof MillraceError) return error;
  const text = messageOf(error);
  if (/^Out of Memory Error|^failed to (allocate|offload)/i.test(text)) {
    return fault('QUERY_MEMORY', {}, error);
  }
  const isDamage = text.startsWith('IO Error: Corrupt database file');
  const code = isDamage ? 'STORE_DAMAGED' : 'QUERY_FAILED';
  return fault(code, { seen: withoutPaths(text) }, error);
}

/** A statement without what may follow it. By hand: a pattern for it takes minutes for a MB. */
function withoutEnd(sql: string): string {
  let end = sql.length;
  while (end > 0 && /[;\s]/.test(sql[end - 1] ?? '')) end -= 1;
  return sql.slice(0, end);
}

/** Where our files are is nobody's business. */
function withoutPaths(text: string): string {
  return text.replace(/(?:\/[\w.@ -]+){2,}/g, (path) => `…/${path.split('/').at(-1)}`);
}

function exact(value: DuckDBValue): Exact {
  if (value === null || typeof value !== 'object') return value ?? null;
  if (value instanceof DuckDBTimestampValue || value instanceof DuckDBTimestampTZValue) {
    return value.micros;
  }
  if (value instanceof DuckDBTimestampSecondsValue) return value.seconds;
  if (value instanceof DuckDBTimestampMillisecondsValue) return value.millis;
  if (value instanceof DuckDBTimestampNanosecondsValue) return value.nanos;
  if (value instanceof DuckDBDateValue) return value.days;
  if (value instanceof DuckDBDecimalValue) return value.value;
  if (value instanceof DuckDBBlobValue) return value.bytes;
  const simple = plain(value);
  return typeof simple === 'object' ? JSON.stringify(simple) : simple;
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
