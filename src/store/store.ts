import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { assert, DirectoryLock, fault, limits, messageOf, nodeDisk } from '../base/index.ts';
import { receiptNumber } from '../event/index.ts';
import { keepBlocks } from './blocks.ts';
import { DuckBooks } from './books.ts';
import {
  type Catalog,
  countsSql,
  fileName,
  growth,
  rowColumns,
  selectRows,
  tableKey,
  userPath,
} from './catalog.ts';
import { Duck, type DuckReader, type DuckWriter } from './duckdb.ts';
import { DuckEraser } from './eraser.ts';
import { areFew, FreshRows, selectFresh } from './fresh.ts';
import type { Between } from './lake-types.ts';
import { DuckLake } from './lake.ts';
import { type Kept, Parked } from './parked.ts';
import { DuckReload } from './reload.ts';
import { parquetOf, staged } from './staging.ts';
import { receiptSql } from './receipts.ts';
import { StillFiles } from './still.ts';
import { SyncedLog } from './synced.ts';
import { dropTable, findRows, readColumns, rescuedTexts, retypedSql, retypeHot } from './tables.ts';
import { writeCells } from './tables.ts';
import type { Store } from './seam.ts';
import type { ColumnStatus, Conversion, EventId, Found, SeenId } from './types.ts';
import type { Still, StoreBatch, TableBatch, TableStatus } from './types.ts';
import type { Relations, StoredTable } from './views.ts';

type Parts = {
  readonly directory: string;
  readonly lakeDirectory: string;
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
  /** For what is read into files. */
  readonly archiver: DuckWriter;
  readonly relations: Relations;
  readonly catalog: Catalog;
  readonly kept: Kept;
};

/** The store, once `openLake` was called. See `openStore`. */
export class DuckStore implements Store {
  readonly parked: Parked;
  readonly books: DuckBooks;
  readonly #parts: Parts;
  readonly #tables: Map<string, StoredTable>;
  readonly #cursors: Map<number, number>;
  readonly #still: StillFiles;
  #synced: SyncedLog | undefined;
  #lake: DuckLake | undefined;
  #eraser: DuckEraser | undefined;
  #reload: Store['reload'] | undefined;
  #stagingCount = 0;
  #forgottenBeforeMs = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
    const mustHaveRoom = (bytes: number) => this.#mustHaveRoom(bytes);
    this.parked = new Parked(parts.writer, parts.looker, parts.kept, mustHaveRoom);
    this.books = new DuckBooks(parts.writer, parts.looker, parts.live, mustHaveRoom);
    this.#tables = parts.catalog.tables;
    this.#cursors = parts.catalog.cursors;
    const checkpoint = () => orInvalid(() => this.#checkpoint());
    this.#still = new StillFiles(parts.directory, checkpoint);
  }

  /** Once, before anything else. */
  async openLake(): Promise<void> {
    const { lakeDirectory: directory, writer, archiver, relations } = this.#parts;
    const tools = { mustHaveRoom: (bytes: number) => this.#mustHaveRoom(bytes) };
    const parts = { directory, tables: this.#tables, relations, writer, archiver, ...tools };
    const settle = () => this.#settle();
    const apart = <T>(work: (engine: DuckWriter) => Promise<T>) => {
      return Duck.apart(join(this.#parts.staging, 'apart'), work);
    };
    this.#synced = await SyncedLog.open(
      join(this.#parts.directory, fileName),
      await this.#still.main(),
    );
    writer.onCommit = () => this.#synced?.note() ?? Promise.resolve();
    this.#lake = await DuckLake.open({ ...parts, books: this.books, settle, apart });
    const connect = () => this.#parts.duck.connect();
    const stagingPath = () => this.#stagingPath();
    const lake = this.#lake;
    this.#eraser = await DuckEraser.open({ ...parts, lake, connect, stagingPath, settle });
    this.#reload = (database, table, between, isDry) => {
      return DuckReload.open({ ...parts, lake, stagingPath }, database, table, between, isDry);
    };
  }

  get reload(): Store['reload'] {
    assert(this.#reload, 'the lake is open');
    return this.#reload;
  }

  get eraser(): DuckEraser {
    assert(this.#eraser, 'the lake is open');
    return this.#eraser;
  }

  get lake(): DuckLake {
    assert(this.#lake, 'the lake is open');
    return this.#lake;
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
      await this.#writeFresh(changed);
      for (const sql of countsSql(changed)) await this.#parts.writer.run(sql);
      await this.parked.release(batch.released);
      await this.parked.add(batch.quarantine);
      await this.#writeIds(batch);
      await this.books.add(batch.ledger, batch.skew);
      for (const [shard, next] of batch.cursors) await this.#writeCursor(shard, next);
    });
    for (const { id, database, table, columns, sealed, files, rows } of changed) {
      const stored = { id, database, table, columns, sealed, files };
      this.#tables.set(tableKey(database, table), stored);
      this.lake.grew(id, rows.count, areFew(rows) ? rows.count : 0, rows.bytes);
    }
    for (const [shard, next] of batch.cursors) this.#cursors.set(shard, next);
    await this.#settle();
  }

  still(): Promise<Still> {
    return this.#still.hold();
  }

  /** After a transaction. It is committed: whoever tried it again would write it twice. */
  #settle(): Promise<void> {
    return orInvalid(async () => {
      await this.#checkpointIfDue();
    });
  }

  /** A transaction that runs out of room on its way is worse than one that waits. */
  async #mustHaveRoom(bytes: number): Promise<void> {
    const { freeBytes, diskBytes } = await nodeDisk.room(this.#parts.directory);
    const spare = Math.min(limits.storeRoomBytesMin, diskBytes * limits.storeRoomDiskShare);
    // Once as a file, once in the engine's log.
    const needed = Math.ceil(2 * bytes + spare);
    if (freeBytes < needed) throw fault('STORE_NO_ROOM', { seen: freeBytes, expected: needed });
  }

  /** Moves the engine's log into its tables, when it is long. */
  async #checkpointIfDue(): Promise<void> {
    if (this.#still.isHeld || (await this.#walBytes()) < limits.storeWalBytesMax) return;
    await this.#checkpoint();
  }

  /** The same at once, if there is room for both. @returns whether it was done */
  async #checkpoint(): Promise<boolean> {
    const { directory, writer } = this.#parts;
    const { freeBytes } = await nodeDisk.room(directory);
    if (freeBytes < 2 * (await this.#walBytes())) return false;
    await keepBlocks(writer, join(directory, fileName), await this.#still.main());
    // While a query still reads what was dropped, the engine puts it off, and so do we.
    await writer.run('CHECKPOINT').catch((error: unknown) => {
      if (!messageOf(error).includes('Cannot CHECKPOINT')) throw error;
    });
    return (await this.#walBytes()) === 0;
  }

  async #walBytes(): Promise<number> {
    const path = join(this.#parts.directory, `${fileName}.wal`);
    return (await stat(path).catch(() => undefined))?.size ?? 0;
  }

  /** Gives each table of a batch its number; a new one gets the next. */
  #number(batches: readonly TableBatch[]): readonly (TableBatch & StoredTable)[] {
    let last = Math.max(0, ...[...this.#tables.values()].map(({ id }) => id));
    return batches.map((batch) => {
      const known = this.schema(batch.database, batch.table);
      if (known) return { ...known, ...batch };
      last += 1;
      return { ...batch, id: last, sealed: undefined, files: [] };
    });
  }

  async #writeTable(batch: TableBatch & StoredTable): Promise<void> {
    const { writer, relations } = this.#parts;
    for (const sql of growth(relations, this.schema(batch.database, batch.table), batch)) {
      await writer.run(sql);
    }
    const { rows } = batch;
    if (rows.count === 0 || areFew(rows)) return;
    await staged(parquetOf(rows), this.#stagingPath(), (path) =>
      writer.run(`INSERT INTO mr.hot_${batch.id} (${rowColumns(rows)}) ${selectRows(rows, path)}`),
    );
  }

  async #writeFresh(batches: readonly (TableBatch & StoredTable)[]): Promise<void> {
    const fresh = new FreshRows();
    for (const batch of batches) if (areFew(batch.rows)) fresh.add(batch.rows, batch);
    if (fresh.count > 0) {
      await staged(fresh.file, this.#stagingPath(), (path) =>
        this.#parts.writer.run(`INSERT INTO mr.fresh ${selectFresh(path)}`),
      );
    }
    fresh.release();
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
    return staged(parquetOf(rows), this.#stagingPath(), async (path) => {
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
    const { looker, relations } = this.#parts;
    const stored = this.#stored(database, table);
    return this.lake.reading(() => readColumns(looker, relations, stored));
  }

  async rescued(database: string, table: string, count: number): Promise<readonly string[]> {
    const { looker, relations } = this.#parts;
    const stored = this.#stored(database, table);
    return this.lake.reading(() => rescuedTexts(looker, relations, stored, count));
  }

  async retype(
    database: string,
    name: string,
    columnName: string,
    conversion: Conversion,
    between: Between,
  ): Promise<void> {
    const { writer, archiver, relations, duck } = this.#parts;
    const table = this.#stored(database, name);
    const column = table.columns.get(columnName);
    if (!column) {
      throw fault('NO_SUCH_COLUMN', { seen: columnName, table: tableKey(database, name) });
    }
    const retype = { column, conversion, path: this.#stagingPath() };
    const reader = await duck.connect();
    try {
      await this.lake.rewrite(database, name, between, {
        files: table.files,
        partOf: async (before, file) => {
          const source = relations.files(before, [file]);
          const [found] = await archiver.all(`SELECT count(*) AS n FROM (${source})
            WHERE "${columnName}" IS NOT NULL OR _rescued_data IS NOT NULL`);
          if (Number(found?.n) === 0) return undefined;
          await writeCells(reader, source, retype);
          return { source: retypedSql(before, source, retype), rows: file.rows };
        },
        hot: async (before) => {
          // Hot rows are written anew, and what changes to a file.
          await this.#mustHaveRoom(await this.size());
          // It may have widened while files were written.
          const now = before.columns.get(columnName) ?? column;
          return retypeHot(writer, reader, before, { ...retype, column: now });
        },
      });
    } finally {
      reader.close();
      await rm(retype.path, { force: true });
    }
  }

  async dropTable(
    database: string,
    table: string,
    before: ReadonlyMap<number, number>,
  ): Promise<void> {
    const { writer, catalog } = this.#parts;
    const stored = this.#stored(database, table);
    await writer.transact(async () => {
      await this.lake.drop(stored);
      await dropTable(writer, stored, before);
      await this.books.drop(database, table);
    });
    this.#tables.delete(tableKey(database, table));
    catalog.dropped.set(tableKey(database, table), new Map(before));
    await this.#settle();
    await this.lake.dropped(stored);
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
    const { looker, relations } = this.#parts;
    const searched = tables?.flatMap((name) => this.#tables.get(name) ?? []);
    const stored = searched ?? [...this.#tables.values()];
    const rows = await this.lake.reading(() => {
      return findRows(looker, relations, stored, shard, from, to);
    });
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
    const release = this.lake.lease();
    return this.#parts.duck.reader(userPath, this.#parts.staging, release).catch((error) => {
      release();
      throw error;
    });
  }

  async close(): Promise<void> {
    const { duck, writer, checker, looker, live, archiver, lock } = this.#parts;
    // If it cannot be, what is in the engine's log is read at the next start.
    await this.#checkpoint().catch(() => false);
    archiver.close();
    live.close();
    looker.close();
    checker.close();
    writer.close();
    duck.close();
    await this.#synced?.close();
    await this.#still.close();
    await rm(this.#parts.staging, { recursive: true, force: true });
    lock.release();
  }
}

/** @throws STORE_INVALID when the work fails */
async function orInvalid<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fault('STORE_INVALID', { seen: messageOf(error) }, error);
  }
}

function bytesOf({ tables, quarantine }: StoreBatch): number {
  const rows = tables.reduce((sum, table) => sum + table.rows.bytes, 0);
  return quarantine.reduce((sum, { body }) => sum + body.length, rows);
}
