import { assert, fault, isFault, limits } from '../base/index.ts';
import { columnName, membersOf, offsetBits, receiptNumber } from '../event/index.ts';
import { rowColumns, selectRows, tableKey } from './catalog.ts';
import type { DuckWriter } from './duckdb.ts';
import type { DuckLake } from './lake.ts';
import type { Between, LakeFile } from './lake-types.ts';
import type { Reload, Stretch } from './reload-types.ts';
import { parquetOf, staged } from './staging.ts';
import type { Column, ColumnType, TableBatch, TableSchema } from './types.ts';
import { nowSql, quoted, type Relations, type StoredTable } from './views.ts';

type Parts = {
  readonly lake: DuckLake;
  readonly tables: ReadonlyMap<string, StoredTable>;
  readonly relations: Relations;
  readonly writer: DuckWriter;
  /** The connection that writes files; what is in between is in temporary tables of it. */
  readonly archiver: DuckWriter;
  readonly stagingPath: () => string;
  readonly mustHaveRoom: (bytes: number) => Promise<void>;
};

/** See `Reload`. Everything is written beside the table, until one transaction swaps it in. */
export class DuckReload implements Reload {
  readonly rows: number;
  readonly #parts: Parts;
  readonly #isDry: boolean;
  /** As it is. Its columns may grow meanwhile. */
  readonly #table: StoredTable;
  /** Files whose rows are derived in this round, and those that were seen. */
  #files: readonly LakeFile[];
  readonly #seen: Set<string>;
  /** Ranges of receipts whose rows are derived, but for those in `reload_missing`. */
  readonly #ranges: { readonly shard: number; readonly from: number; to: number }[] = [];
  #covered = 0;
  #kept: ReadonlyMap<string, Column> = new Map();
  #columns: ReadonlyMap<string, Column> = new Map();
  /** Values in `_rescued_data` by column. */
  readonly #rescued = new Map<string, number>();
  /** The columns of `reload_rows`, and what is in it. */
  #scratch: ReadonlyMap<string, Column> | undefined;
  #scratchRows = 0;
  #scratchBytes = 0;
  readonly #remove: LakeFile[] = [];
  #add: LakeFile[] = [];

  private constructor(parts: Parts, table: StoredTable, isDry: boolean, rows: number) {
    this.#parts = parts;
    this.#table = table;
    this.#isDry = isDry;
    this.#files = table.files;
    this.#seen = new Set(table.files.map(({ name }) => name));
    this.rows = rows;
  }

  /** @param isDry whether nothing is to be changed. @throws NO_SUCH_TABLE */
  static async open(
    parts: Parts,
    database: string,
    name: string,
    between: Between,
    isDry: boolean,
  ): Promise<DuckReload> {
    const { archiver, relations, tables, lake } = parts;
    const stored = () => tables.get(tableKey(database, name));
    if (!stored()) throw fault('NO_SUCH_TABLE', { seen: tableKey(database, name) });
    if (!isDry) await lake.archive(database, name, between);
    const table = stored();
    assert(table, 'nobody drops a table meanwhile');
    const source = isDry ? relations.all(table) : filesOf(relations, table, table.files);
    const [found] = await archiver.all(`SELECT count(*) AS n FROM (${source})`);
    await archiver.run('CREATE OR REPLACE TEMP TABLE reload_missing (_receipt BIGINT)');
    return new DuckReload(parts, table, isDry, Number(found?.n));
  }

  get covered(): number {
    return this.#covered;
  }

  get columns(): ReadonlyMap<string, Column> {
    return this.#columns;
  }

  async cover(stretch: Stretch, offsets: readonly number[]): Promise<ReadonlySet<number>> {
    const rows = await this.rowsIn(stretch);
    const found = new Set(offsets.filter((offset) => rows.has(offset)));
    const missing = [...rows].filter((offset) => !found.has(offset));
    const { shard, from, to } = stretch;
    const lost = missing.map((offset) => [BigInt(receiptNumber(shard, offset))]);
    if (lost.length > 0) await this.#parts.archiver.append('main', 'reload_missing', lost, 'temp');
    const last = this.#ranges.at(-1);
    if (last?.shard === shard && last.to === from) last.to = to;
    else this.#ranges.push({ shard, from, to });
    this.#covered += found.size;
    return found;
  }

  async rowsIn({ shard, from, to }: Stretch): Promise<ReadonlySet<number>> {
    const [first, last] = [receiptNumber(shard, from), receiptNumber(shard, to - 1)];
    const files = this.#files.filter(({ receiptMin, receiptMax }) => {
      return receiptMin <= BigInt(last) && receiptMax >= BigInt(first);
    });
    const rows = await this.#parts.archiver.all(`
      SELECT _receipt & ${2n ** offsetBits - 1n} AS at FROM (${this.#source(files)})
      WHERE _receipt BETWEEN ${first} AND ${last}`);
    return new Set(rows.map(({ at }) => Number(at)));
  }

  /** The rows of this round, those of some files at least. */
  #source(files: readonly LakeFile[]): string {
    const { relations } = this.#parts;
    const table = this.#table;
    return this.#isDry ? relations.all({ ...table, files }) : filesOf(relations, table, files);
  }

  async begin(types: ReadonlyMap<string, ColumnType>): Promise<TableSchema> {
    this.#kept = await this.#keep();
    if (!this.#isDry) await this.#writeRest();
    const columns = new Map(this.#kept);
    for (const [name, type] of types) {
      if (columns.has(name) || columns.size >= limits.columnsMax) continue;
      columns.set(name, { name, type, exactAsDouble: true });
    }
    this.#columns = columns;
    return { ...this.#table, columns };
  }

  /** The columns that rows which stay have values in; counts what is rescued of them. */
  async #keep(): Promise<ReadonlyMap<string, Column>> {
    if (this.#covered === this.rows) return new Map();
    const { archiver } = this.#parts;
    const rest = `(${this.#source(this.#files)}) WHERE NOT (${this.#coveredSql()})`;
    const columns = [...this.#table.columns.values()];
    const checks = columns.map(({ name }, index) => `bool_or("${name}" IS NOT NULL) AS c${index}`);
    const [has] = await archiver.all(`SELECT ${['1', ...checks].join(', ')} FROM ${rest}`);
    const texts = archiver.stream(
      `SELECT _rescued_data FROM ${rest} AND _rescued_data IS NOT NULL`,
    );
    for await (const rows of texts) for (const [text] of rows) this.#countRescued(text as string);
    const kept = columns.filter((_, index) => has?.[`c${index}`] === true);
    return new Map(kept.map((column) => [column.name, column]));
  }

  #countRescued(text: string): void {
    for (const { key, kind } of membersOf(text)) {
      if (kind !== 'null') add(this.#rescued, columnName(key), 1);
    }
  }

  /** Rows that stay in files that do not. */
  async #writeRest(): Promise<void> {
    const { archiver, lake, mustHaveRoom } = this.#parts;
    const table = { ...this.#table, columns: this.#kept };
    for (const file of this.#files) {
      const source = this.#source([file]);
      const [found] = await archiver.all(
        `SELECT count(*) AS n FROM (${source}) WHERE ${this.#coveredSql()}`,
      );
      if (Number(found?.n) === 0) continue;
      this.#remove.push(file);
      if (Number(found?.n) === file.rows) continue;
      await lake.mustBeWhole(this.#table, [file]);
      await mustHaveRoom(file.bytes);
      const rest = `FROM (${source}) WHERE NOT (${this.#coveredSql()})`;
      this.#add.push(...(await lake.write(table, rest)));
    }
  }

  #coveredSql(): string {
    const ranges = this.#ranges.map(({ shard, from, to }) => {
      return `_receipt BETWEEN ${receiptNumber(shard, from)} AND ${receiptNumber(shard, to - 1)}`;
    });
    if (ranges.length === 0) return 'false';
    return `(${ranges.join(' OR ')}) AND _receipt NOT IN (FROM reload_missing)`;
  }

  async add(batch: TableBatch): Promise<void> {
    this.#took(batch);
    const { rows, columns } = batch;
    if (this.#isDry || rows.count === 0) return;
    const { archiver, stagingPath } = this.#parts;
    for (const sql of scratchSql(this.#scratch, columns)) await archiver.run(sql);
    this.#scratch = columns;
    await insert(archiver, 'temp.main.reload_rows', batch, stagingPath());
    this.#scratchRows += rows.count;
    this.#scratchBytes += rows.bytes;
    const { hotRowsMax, hotBytesMax } = limits;
    if (this.#scratchRows >= hotRowsMax || this.#scratchBytes >= hotBytesMax) await this.#flush();
  }

  #took({ columns, rescued }: TableBatch): void {
    this.#columns = columns;
    for (const [column, count] of rescued) add(this.#rescued, column, count);
  }

  /** Moves what was added to files. */
  async #flush(): Promise<void> {
    const { archiver, lake, mustHaveRoom } = this.#parts;
    if (!this.#scratch) return;
    await mustHaveRoom(this.#scratchBytes);
    const table = { ...this.#table, columns: this.#scratch };
    this.#add.push(...(await lake.write(table, 'FROM temp.main.reload_rows')));
    await archiver.run('DROP TABLE temp.main.reload_rows');
    [this.#scratch, this.#scratchRows, this.#scratchBytes] = [undefined, 0, 0];
  }

  async more(between: Between): Promise<readonly Stretch[]> {
    const { archiver, lake, tables } = this.#parts;
    const { database, table } = this.#table;
    await lake.archive(database, table, between);
    const files = tables.get(tableKey(database, table))?.files ?? [];
    this.#files = files.filter(({ name }) => !this.#seen.has(name));
    for (const { name } of this.#files) this.#seen.add(name);
    this.#remove.push(...this.#files);
    if (this.#files.length === 0) return [];
    const rows = await archiver.all(stretchesSql(this.#source(this.#files)));
    return rows.map(({ shard, first, last }) => {
      return { shard: Number(shard), from: Number(first), to: Number(last) + 1 };
    });
  }

  async finish(
    between: Between,
    last: (hot: readonly Stretch[], rows: ReadonlySet<string>) => Promise<TableBatch | undefined>,
  ): Promise<boolean> {
    await this.#flush();
    const { archiver, relations, lake, writer } = this.#parts;
    const { id, database, table } = this.#table;
    const before = await fingerprint(archiver, filesOf(relations, this.#table, this.#remove));
    const after = await fingerprint(archiver, filesOf(relations, this.#table, this.#add));
    this.#mustBeSame(before, after);
    return between(async () => {
      await lake.gather(this.#table);
      const hot = `mr.hot_${id}`;
      const [found] = await writer.all(`SELECT count(*) AS n FROM ${hot}`);
      if (Number(found?.n) > limits.reloadHotRowsMax) return false;
      const rows = await writer.all(`SELECT _receipt::VARCHAR AS receipt FROM ${hot}`);
      const stretches = await writer.all(stretchesSql(`FROM ${hot}`));
      const batch = await last(
        stretches.map(({ shard, first, last: end }) => {
          return { shard: Number(shard), from: Number(first), to: Number(end) + 1 };
        }),
        new Set(rows.map(({ receipt }) => receipt as string)),
      );
      if (!batch) return false;
      const [remove, written] = [this.#remove, this.#add];
      // From now on they are the lake's to remove.
      this.#add = [];
      const change = (now: StoredTable) => this.#replaceHot(now, batch);
      await lake.replace(database, table, { remove, add: written, hot: change });
      return true;
    });
  }

  /** As part of the open transaction: columns, and hot rows with them, as they are now. */
  async #replaceHot(table: StoredTable, batch: TableBatch): Promise<StoredTable> {
    const { writer, stagingPath } = this.#parts;
    this.#took(batch);
    const hot = `mr.hot_${table.id}`;
    const names = [...batch.columns.values()].map(({ name, type }) => `"${name}" ${type}`);
    const own = ['time BIGINT', '_rescued_data VARCHAR', '_receipt BIGINT'];
    await writer.run(`CREATE TABLE ${hot}_new (${[...own, ...names].join(', ')})`);
    if (batch.rows.count > 0) await insert(writer, `${hot}_new`, batch, stagingPath());
    const before = await fingerprint(writer, `FROM ${hot}`);
    this.#mustBeSame(before, await fingerprint(writer, `FROM ${hot}_new`));
    await writer.run(`DROP TABLE ${hot}`);
    await writer.run(`ALTER TABLE ${hot}_new RENAME TO hot_${table.id}`);
    for (const sql of this.#columnsSql(table)) await writer.run(sql);
    return { ...table, columns: batch.columns };
  }

  #columnsSql({ id }: StoredTable): readonly string[] {
    const kept = [...this.#kept.keys()].map(quoted);
    const among = kept.length === 0 ? 'false' : `name IN (${kept.join(', ')})`;
    const sql = [`DELETE FROM mr.columns WHERE table_id = ${id} AND NOT ${among}`];
    let ordinal = 0;
    for (const { name, type, exactAsDouble } of this.#columns.values()) {
      const rescued = this.#rescued.get(name) ?? 0;
      sql.push(
        this.#kept.has(name)
          ? `UPDATE mr.columns SET ordinal = ${ordinal}, type = '${type}',
              exact_as_double = ${exactAsDouble}, rescued = ${rescued}
              WHERE table_id = ${id} AND name = '${name}'`
          : `INSERT INTO mr.columns VALUES (${id}, ${ordinal}, '${name}', '${type}',
              ${exactAsDouble}, ${nowSql}, ${rescued})`,
      );
      ordinal += 1;
    }
    return sql;
  }

  /** The set of rows does not change, or nothing does. */
  #mustBeSame(before: string, after: string): void {
    if (before === after) return;
    const { database, table } = this.#table;
    throw fault('RELOAD_DISTURBED', { table: tableKey(database, table) });
  }

  async close(error?: unknown): Promise<void> {
    const { archiver, lake } = this.#parts;
    // Where nobody knows, they may be named.
    if (!isFault(error, 'STORE_INVALID')) await lake.discard(this.#table, this.#add);
    await archiver.run('DROP TABLE IF EXISTS temp.main.reload_rows');
    await archiver.run('DROP TABLE IF EXISTS temp.main.reload_missing');
  }
}

function add(counts: Map<string, number>, name: string, count: number): void {
  counts.set(name, (counts.get(name) ?? 0) + count);
}

/** The rows of files; of none, too. */
function filesOf(relations: Relations, table: TableSchema, files: readonly LakeFile[]): string {
  if (files.length > 0) return relations.files(table, files);
  const names = [...table.columns.values()].map(({ name, type }) => `NULL::${type} AS "${name}"`);
  const own = ['NULL::BIGINT AS time', 'NULL::VARCHAR AS _rescued_data', '0::BIGINT AS _receipt'];
  return `SELECT ${[...own, ...names].join(', ')} WHERE false`;
}

/** What tells one set of rows from another. */
async function fingerprint(reader: DuckWriter, source: string): Promise<string> {
  const [found] = await reader.all(`
    SELECT concat_ws(' ', count(*), min(_receipt), max(_receipt), sum(hash(_receipt))) AS text
    FROM (${source})`);
  return found?.text as string;
}

function stretchesSql(source: string): string {
  const offset = `_receipt & ${2n ** offsetBits - 1n}`;
  return `SELECT _receipt >> ${offsetBits} AS shard, min(${offset}) AS first,
    max(${offset}) AS last FROM (${source}) GROUP BY shard ORDER BY shard`;
}

function scratchSql(
  before: ReadonlyMap<string, Column> | undefined,
  after: ReadonlyMap<string, Column>,
): readonly string[] {
  const scratch = 'temp.main.reload_rows';
  const sql = before
    ? []
    : [`CREATE TEMP TABLE reload_rows (time BIGINT, _rescued_data VARCHAR, _receipt BIGINT)`];
  for (const { name, type } of after.values()) {
    const old = before?.get(name);
    if (!old) sql.push(`ALTER TABLE ${scratch} ADD COLUMN "${name}" ${type}`);
    else if (old.type !== type) sql.push(`ALTER TABLE ${scratch} ALTER "${name}" TYPE ${type}`);
  }
  return sql;
}

function insert(writer: DuckWriter, into: string, { rows }: TableBatch, path: string) {
  return staged(parquetOf(rows), path, (file) => {
    return writer.run(`INSERT INTO ${into} (${rowColumns(rows)}) ${selectRows(rows, file)}`);
  });
}
