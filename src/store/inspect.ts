import { join } from 'node:path';
import { fault, limits, messageOf, MillraceError } from '../base/index.ts';
import { areTornBlocks, putBlocksBack } from './blocks.ts';
import { DuckBooks } from './books.ts';
import { fileName, readTables } from './catalog.ts';
import { Duck, type DuckWriter } from './duckdb.ts';
import type { LakeFile } from './lake-types.ts';
import { hasStore, mustNotBeLost } from './presence.ts';
import type { Remainder } from './types.ts';
import { filePath } from './views.ts';
import { cutUnsynced, forgetSynced, hasUnsynced } from './synced.ts';
import { mustBeWholeLog } from './wal.ts';

/** A table of a store that nobody has open, and its files. */
export type InspectedTable = {
  readonly database: string;
  readonly table: string;
  readonly rows: number;
  /** With their paths below the lake. */
  readonly files: readonly (LakeFile & { readonly path: string })[];
};

/** What a store says of itself. */
export type Inspection = {
  readonly cursors: ReadonlyMap<number, number>;
  readonly tables: readonly InspectedTable[];
  /** Tables of the engine that cannot be read to the end, and why. */
  readonly unreadable: readonly { readonly name: string; readonly why: string }[];
  /** Undefined where what the books are in cannot be read. */
  readonly books: Remainder | undefined;
};

/** What the engine says of a file that has changed. */
const damageTexts =
  /corrupt|not a valid DuckDB|replaying WAL|enough bytes|serializ|INTERNAL Error/i;

/** The fault that an error of the engine is when it opens or reads a store. */
export function storeFault(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  const seen = messageOf(error);
  return fault(damageTexts.test(seen) ? 'STORE_DAMAGED' : 'STORE_FAILED', { seen }, error);
}

/**
 * Opens the file of a store that nobody else has open, as it is.
 * @param access whether it may be changed; if not, neither is its log written into it
 * @throws STORE_DAMAGED, STORE_FAILED
 */
export async function withStoreFile<T>(
  dataDirectory: string,
  access: 'READ_ONLY' | 'READ_WRITE',
  work: (engine: DuckWriter) => Promise<T>,
): Promise<T> {
  const path = join(dataDirectory, 'store', fileName);
  await mustBeWholeLog(`${path}.wal`);
  if (access === 'READ_WRITE') await forgetSynced(path);
  const memory = { memory_limit: `${limits.storeMemoryBytesMax} B` };
  try {
    const duck = await Duck.open(path, ':memory:', limits.rowGroupRows, memory, access);
    try {
      const engine = await duck.connect();
      return await work(engine).finally(() => engine.close());
    } finally {
      duck.close();
    }
  } catch (error) {
    throw storeFault(error);
  }
}

/** Whether the end of the power has torn what was being written: nothing of it was relied on. */
export async function isTornStore(dataDirectory: string): Promise<boolean> {
  const path = join(dataDirectory, 'store', fileName);
  return (await areTornBlocks(path)) || (await hasUnsynced(path));
}

/** Puts that right, as a start does. */
export async function mendTornStore(dataDirectory: string): Promise<void> {
  const path = join(dataDirectory, 'store', fileName);
  await putBlocksBack(path);
  await cutUnsynced(path);
}

/**
 * Reads all of a store that nobody has open, and changes nothing.
 * @throws STORE_MISSING, STORE_DAMAGED when it does not open; STORE_FAILED
 */
export async function inspectStore(dataDirectory: string): Promise<Inspection> {
  await mustNotBeLost(dataDirectory);
  const nothing = { cursors: new Map<number, number>(), tables: [], unreadable: [] };
  const none = { ...nothing, books: { events: 0, where: [] } };
  // No server has come as far as making one.
  if (!(await hasStore(dataDirectory))) return none;
  return withStoreFile(dataDirectory, 'READ_ONLY', async (engine) => {
    const schemas = await engine.all("FROM duckdb_schemas() WHERE schema_name = 'mr'");
    if (schemas.length === 0) return none;
    const unreadable = await unreadableIn(engine);
    const cursors = await engine.all('FROM mr.cursors');
    const rows = await engine.all('SELECT id, rows FROM mr.tables');
    const rowsOf = new Map(rows.map((row) => [Number(row.id), Number(row.rows)]));
    const tables = [...(await readTables(engine)).values()].map((table) => ({
      database: table.database,
      table: table.table,
      rows: rowsOf.get(table.id) ?? 0,
      files: table.files.map((file) => ({ ...file, path: filePath(table, file) })),
    }));
    return {
      cursors: new Map(cursors.map(({ shard, next }) => [Number(shard), Number(next)])),
      tables,
      unreadable,
      books: unreadable.length > 0 ? undefined : await auditAll(engine, tables.length),
    };
  });
}

/** Reads every value of every table. */
async function unreadableIn(engine: DuckWriter): Promise<Inspection['unreadable']> {
  const unreadable: { name: string; why: string }[] = [];
  const found = await engine.all(`SELECT table_name FROM duckdb_tables()
    WHERE schema_name = 'mr' ORDER BY ALL`);
  for (const { table_name: table } of found) {
    const name = `mr.${table as string}`;
    try {
      await engine.all(`SELECT bit_xor(hash(t))::VARCHAR AS h FROM ${name} t`);
    } catch (error) {
      unreadable.push({ name, why: messageOf(error) });
    }
  }
  return unreadable;
}

/** The books look at some tables in each turn. */
async function auditAll(engine: DuckWriter, tables: number): Promise<Remainder> {
  const books = new DuckBooks(engine, engine, engine, () => Promise.resolve());
  const turns = Math.floor(tables / limits.auditTablesMax);
  for (let turn = 0; turn < turns; turn += 1) await books.audit();
  return books.audit();
}
