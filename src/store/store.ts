import { mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { assert, DirectoryLock, fault, limits, messageOf, nodeDisk } from '../base/index.ts';
import { receiptNumber } from '../event/index.ts';
import { DuckBooks } from './books.ts';
import {
  type Catalog,
  countsSql,
  emptyName,
  fileName,
  growth,
  openCatalog,
  rowColumns,
  selectRows,
  type StoredTable,
  tableKey,
  tableRows,
} from './catalog.ts';
import { Duck, type DuckReader, type DuckWriter } from './duckdb.ts';
import { type Kept, Parked } from './parked.ts';
import { dropTable, findRows, readColumns, rescuedTexts, retype } from './tables.ts';
import type { Rows } from './rows.ts';
import { parquetOf } from './staging.ts';
import type { ColumnStatus, Conversion, EventId, Found, SeenId, Store } from './types.ts';
import { receiptSql } from './receipts.ts';
import type { StoreBatch, TableBatch, TableStatus } from './types.ts';

/**
 * Locks and opens the store below a data directory.
 * @throws LOCKED when another process has it, and does not end soon; STORE_FAILED
 */
export async function openStore(dataDirectory: string, kept: Kept): Promise<Store> {
  const directory = join(dataDirectory, 'store');
  const staging = join(directory, 'staging');
  await nodeDisk.makeDirectory(directory);
  const holder = () => 'a process of an earlier server that is still ending';
  const lock = await DirectoryLock.take(join(directory, 'LOCK'), holder, limits.lockWaitMs);
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging);
  try {
    const settings = {
      // The engine would write its log into its tables at any commit, also when there is no room
      // for both, and then refuse to go on; `#checkpointIfDue` looks first.
      checkpoint_threshold: '1 TB',
      // Each column of each table takes a block at least: 58 small tables were 33 MB, now 6.
      default_block_size: '16384',
      max_temp_directory_size: `${limits.storeSpillBytesMax} B`,
      memory_limit: `${limits.storeMemoryBytesMax} B`,
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      // The engine counts the processors of the machine. A thread beyond those of this process
      // takes time from the one that works: it looks for work all the while.
      threads: String(availableParallelism()),
    };
    const path = join(directory, fileName);
    const duck = await Duck.open(path, join(staging, emptyName), limits.rowGroupRows, settings);
    const writer = await duck.connect();
    const catalog = await openCatalog(writer);
    await writer.run(`SET allowed_directories = ['${staging.replaceAll("'", "''")}']`);
    await writer.run('SET enable_external_access = false');
    await writer.run('SET lock_configuration = true');
    const [checker, looker, live] = await Promise.all([1, 2, 3].map(() => duck.connect()));
    assert(checker && looker && live, 'three connections');
    const connections = { writer, checker, looker, live };
    return new DuckStore({ directory, staging, lock, duck, ...connections, catalog, kept });
  } catch (error) {
    throw fault('STORE_FAILED', { seen: messageOf(error) }, error);
  }
}

type Parts = {
  readonly directory: string;
  readonly staging: string;
  readonly lock: DirectoryLock;
  readonly duck: Duck;
  readonly writer: DuckWriter;
  /** For what the loader asks while it makes a batch. */
  readonly checker: DuckWriter;
  /** For everything else that is only looked at. */
  readonly looker: DuckWriter;
  /** For the tables in memory. */
  readonly live: DuckWriter;
  readonly catalog: Catalog;
  readonly kept: Kept;
};

class DuckStore implements Store {
  readonly parked: Parked;
  readonly books: DuckBooks;
  readonly #parts: Parts;
  readonly #tables: Map<string, StoredTable>;
  readonly #cursors: Map<number, number>;
  #stagingCount = 0;
  #forgottenBeforeMs = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
    const mustHaveRoom = (bytes: number) => this.#mustHaveRoom(bytes);
    this.parked = new Parked(parts.writer, parts.looker, parts.kept, mustHaveRoom);
    this.books = new DuckBooks(parts.writer, parts.looker, parts.live, mustHaveRoom);
    this.#tables = parts.catalog.tables;
    this.#cursors = parts.catalog.cursors;
  }

  get cursors(): ReadonlyMap<number, number> {
    return this.#cursors;
  }

  get tableCount(): number {
    return this.#tables.size;
  }

  schema(database: string, table: string): StoredTable | undefined {
    return this.#tables.get(tableKey(database, table));
  }

  async commit(batch: StoreBatch): Promise<void> {
    const changed = this.#number(batch.tables);
    await this.#mustHaveRoom(bytesOf(batch));
    await this.#parts.writer.transact(async () => {
      for (const table of changed) await this.#writeTable(table);
      for (const sql of countsSql(changed)) await this.#parts.writer.run(sql);
      await this.parked.release(batch.released);
      await this.parked.add(batch.quarantine);
      await this.#writeIds(batch);
      await this.books.add(batch.ledger, batch.skew);
      for (const [shard, next] of batch.cursors) await this.#writeCursor(shard, next);
    });
    for (const { id, database, table, columns } of changed) {
      this.#tables.set(tableKey(database, table), { id, database, table, columns });
    }
    for (const [shard, next] of batch.cursors) this.#cursors.set(shard, next);
    await this.#settle();
  }

  /** After a transaction. */
  async #settle(): Promise<void> {
    try {
      // The engine syncs its files, not the folder that names them.
      await nodeDisk.syncDirectory(this.#parts.directory);
      await this.#checkpointIfDue();
    } catch (error) {
      // It is committed: whoever tried it again would write it twice.
      throw fault('STORE_INVALID', { seen: messageOf(error) }, error);
    }
  }

  /** A transaction that runs out of room on its way is worse than one that waits. */
  async #mustHaveRoom(bytes: number): Promise<void> {
    const { freeBytes, diskBytes } = await nodeDisk.room(this.#parts.directory);
    const spare = Math.min(limits.storeRoomBytesMin, diskBytes * limits.storeRoomDiskShare);
    // Once as a file, once in the engine's log.
    const needed = Math.ceil(2 * bytes + spare);
    if (freeBytes < needed) throw fault('STORE_NO_ROOM', { seen: freeBytes, expected: needed });
  }

  /** Moves the engine's log into its tables, when it is long and there is room for both. */
  async #checkpointIfDue(): Promise<void> {
    const { directory, writer } = this.#parts;
    const wal = await stat(join(directory, `${fileName}.wal`)).catch(() => undefined);
    if (!wal || wal.size < limits.storeWalBytesMax) return;
    const { freeBytes } = await nodeDisk.room(directory);
    if (freeBytes < 2 * wal.size) return;
    // While a query still reads what was dropped, the engine puts it off, and so do we.
    await writer.run('CHECKPOINT').catch((error: unknown) => {
      if (!messageOf(error).includes('Cannot CHECKPOINT')) throw error;
    });
  }

  /** Gives each table of a batch its number; a new one gets the next. */
  #number(batches: readonly TableBatch[]): readonly (TableBatch & StoredTable)[] {
    let last = Math.max(0, ...[...this.#tables.values()].map(({ id }) => id));
    return batches.map((batch) => {
      const id = this.schema(batch.database, batch.table)?.id ?? (last += 1);
      return { ...batch, id };
    });
  }

  async #writeTable(batch: TableBatch & StoredTable): Promise<void> {
    const { writer } = this.#parts;
    for (const sql of growth(this.schema(batch.database, batch.table), batch)) {
      await writer.run(sql);
    }
    const { rows } = batch;
    if (rows.count === 0) return;
    if (rows.count <= limits.appendedRowsMax) {
      await writer.append('mr', `hot_${batch.id}`, tableRows(rows, batch));
    } else {
      await staged(rows, this.#stagingPath(), (path) =>
        writer.run(
          `INSERT INTO mr.hot_${batch.id} (${rowColumns(rows)}) ${selectRows(rows, path)}`,
        ),
      );
    }
  }

  async #writeIds({ tables, forgetBeforeMs }: StoreBatch): Promise<void> {
    const ids = tables.flatMap((table) => table.ids);
    if (ids.length === 0) return;
    const rows = ids.map(({ high, low, digest, receivedAtMs }) => {
      return [high, low, digest, BigInt(receivedAtMs)];
    });
    await this.#parts.writer.append('mr', 'ids', rows);
    if (forgetBeforeMs < this.#forgottenBeforeMs + limits.forgetIdsEveryMs) return;
    await this.#parts.writer.run(`DELETE FROM mr.ids WHERE received_at < ${forgetBeforeMs}`);
    this.#forgottenBeforeMs = forgetBeforeMs;
  }

  async seen(ids: readonly EventId[]): Promise<readonly Omit<SeenId, 'receivedAtMs'>[]> {
    if (ids.length === 0) return [];
    const { checker } = this.#parts;
    try {
      await checker.run('CREATE OR REPLACE TEMP TABLE asked (high BIGINT, low BIGINT)');
      await checker.append(
        'main',
        'asked',
        ids.map(({ high, low }) => [high, low]),
        'temp',
      );
      const rows = await checker.all(`
        SELECT high::VARCHAR AS high, low::VARCHAR AS low, digest::VARCHAR AS digest
        FROM mr.ids SEMI JOIN asked USING (high, low)`);
      return rows.map(({ high, low, digest }) => ({
        high: BigInt(high as string),
        low: BigInt(low as string),
        digest: BigInt(digest as string),
      }));
    } catch (error) {
      throw fault('STORE_FAILED', { seen: messageOf(error) }, error);
    }
  }

  async #writeCursor(shard: number, next: number): Promise<void> {
    const before = this.#cursors.get(shard);
    assert(before === undefined || next >= before, 'a cursor never goes back');
    await this.#parts.writer.run(
      before === undefined
        ? `INSERT INTO mr.cursors VALUES (${shard}, ${next})`
        : `UPDATE mr.cursors SET next = ${next} WHERE shard = ${shard}`,
    );
  }

  async accepts({ rows }: TableBatch): Promise<boolean> {
    return staged(rows, this.#stagingPath(), async (path) => {
      const { checker } = this.#parts;
      try {
        await checker.run(`CREATE OR REPLACE TEMP TABLE checked AS ${selectRows(rows, path)}`);
        return true;
      } catch (error) {
        const seen = messageOf(error);
        if (/^(Invalid Input|Conversion) Error/.test(seen)) return false;
        throw fault('STORE_FAILED', { seen }, error);
      }
    });
  }

  #stagingPath(): string {
    this.#stagingCount += 1;
    return join(this.#parts.staging, `${this.#stagingCount}.rows`);
  }

  async tables(): Promise<readonly TableStatus[]> {
    const rows = await this.#parts.looker.all(`
      SELECT t.database, t.name, t.rows, t.duplicates, count(c.name) AS columns
      FROM mr.tables t LEFT JOIN mr.columns c ON c.table_id = t.id GROUP BY ALL ORDER BY ALL`);
    return rows.map((row) => ({
      database: row.database as string,
      table: row.name as string,
      rows: Number(row.rows),
      columns: Number(row.columns),
      duplicates: Number(row.duplicates),
    }));
  }

  async columns(database: string, table: string): Promise<readonly ColumnStatus[]> {
    return readColumns(this.#parts.looker, this.#stored(database, table));
  }

  async rescued(database: string, table: string, count: number): Promise<readonly string[]> {
    return rescuedTexts(this.#parts.looker, this.#stored(database, table), count);
  }

  async retype(
    database: string,
    name: string,
    column: string,
    conversion: Conversion,
  ): Promise<void> {
    const { writer, duck } = this.#parts;
    const table = this.#stored(database, name);
    const path = this.#stagingPath();
    // The table is written anew, and what changes to a file.
    await this.#mustHaveRoom(await this.size());
    const reader = await duck.connect();
    const after = await writer
      .transact(() => retype(writer, reader, table, column, conversion, path))
      .finally(() => reader.close());
    this.#tables.set(tableKey(database, name), after);
    await this.#settle();
  }

  async dropTable(
    database: string,
    table: string,
    before: ReadonlyMap<number, number>,
  ): Promise<void> {
    const { writer, catalog } = this.#parts;
    await writer.transact(async () => {
      await dropTable(writer, this.#stored(database, table), before);
      await this.books.drop(database, table);
    });
    this.#tables.delete(tableKey(database, table));
    catalog.dropped.set(tableKey(database, table), new Map(before));
    await this.#settle();
  }

  incarnation(database: string, table: string): string {
    const shards = this.#parts.catalog.dropped.get(tableKey(database, table));
    return shards ? [...shards].join(' ') : '';
  }

  droppedBefore(database: string, table: string, shard: number): number {
    return this.#parts.catalog.dropped.get(tableKey(database, table))?.get(shard) ?? 0;
  }

  async find(
    shard: number,
    from: number,
    to: number,
    tables?: readonly string[],
  ): Promise<readonly Found[]> {
    const { looker } = this.#parts;
    const searched = tables?.flatMap((name) => this.#tables.get(name) ?? []);
    const rows = await findRows(looker, searched ?? [...this.#tables.values()], shard, from, to);
    const parked = await looker.all(`
      SELECT ${receiptSql('receipt')} AS receipt, "database", "table", reason FROM mr.parked
      WHERE receipt BETWEEN ${receiptNumber(shard, from)} AND ${receiptNumber(shard, to - 1)}
      ORDER BY receipt`);
    return [...rows, ...(parked as unknown as readonly Found[])];
  }

  /** @throws NO_SUCH_TABLE */
  #stored(database: string, table: string): StoredTable {
    const stored = this.schema(database, table);
    if (!stored) throw fault('NO_SUCH_TABLE', { seen: tableKey(database, table) });
    return stored;
  }

  async size(): Promise<number> {
    let bytes = 0;
    for (const name of await readdir(this.#parts.directory)) {
      // The engine removes files of its own in between.
      bytes += (await stat(join(this.#parts.directory, name)).catch(() => undefined))?.size ?? 0;
    }
    return bytes;
  }

  reader(): Promise<DuckReader> {
    return this.#parts.duck.reader();
  }

  async close(): Promise<void> {
    const { duck, writer, checker, looker, live, lock } = this.#parts;
    live.close();
    looker.close();
    checker.close();
    writer.close();
    duck.close();
    await rm(this.#parts.staging, { recursive: true, force: true });
    lock.release();
  }
}

function bytesOf({ tables, quarantine }: StoreBatch): number {
  const rows = tables.reduce((sum, table) => sum + table.rows.bytes, 0);
  return quarantine.reduce((sum, { body }) => sum + body.length, rows);
}

/** Lends a file with rows that the engine reads; it need not survive anything. */
async function staged<T>(rows: Rows, path: string, use: (path: string) => Promise<T>): Promise<T> {
  try {
    const file = await open(path, 'w');
    try {
      const pieces = parquetOf(rows);
      const { bytesWritten } = await file.writev(pieces);
      const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      assert(bytesWritten === bytes, 'there was room for all rows');
    } finally {
      await file.close();
    }
    return await use(path);
  } finally {
    await rm(path, { force: true });
  }
}
