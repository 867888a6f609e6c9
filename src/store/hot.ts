import { limits } from '../base/index.ts';
import type { DuckWriter } from './duckdb.ts';

/** What is hot of a table, about. */
export type Hot = {
  rows: number;
  /** How many of them are in `mr.fresh`; exact. */
  fresh: number;
  /** As they came; of those that were hot at a start, 0 until they were weighed. */
  bytes: number;
  /** Since when the oldest row is hot; undefined until somebody has looked at the clock. */
  sinceMs: number | undefined;
};

/** Length of the rows of a table that are stored together, bytes, about. */
export function rowGroupBytes({ rows, bytes }: Pick<Hot, 'rows' | 'bytes'>): number {
  return bytes / Math.max(1, rows / limits.rowGroupRows);
}

/** What is hot, by the number of its table; tables without hot rows are left out. */
export class HotTables {
  readonly #tables = new Map<number, Hot>();

  /** @returns what the store holds. How old that is is not known: it counts from now on. */
  static async read(engine: DuckWriter): Promise<HotTables> {
    const found = await engine.all(`
      SELECT id, sum(n)::BIGINT AS n, sum(few)::BIGINT AS few FROM (
        SELECT substr(table_name, ${'hot_'.length + 1})::INTEGER AS id,
          estimated_size AS n, 0 AS few
        FROM duckdb_tables() WHERE schema_name = 'mr' AND starts_with(table_name, 'hot_')
        UNION ALL SELECT table_id, count(*), count(*) FROM mr.fresh GROUP BY table_id)
      GROUP BY id HAVING sum(n) > 0`);
    const hot = new HotTables();
    for (const { id, n, few } of found) hot.grew(Number(id), Number(n), Number(few), 0);
    return hot;
  }

  get all(): ReadonlyMap<number, Hot> {
    return this.#tables;
  }

  get rows(): number {
    return [...this.#tables.values()].reduce((sum, { rows }) => sum + rows, 0);
  }

  of(id: number): Readonly<Hot> {
    return this.#tables.get(id) ?? { rows: 0, fresh: 0, bytes: 0, sinceMs: undefined };
  }

  /** After a commit of rows, `fresh` of them in `mr.fresh`. */
  grew(id: number, rows: number, fresh: number, bytes: number): void {
    if (rows === 0) return;
    const before = this.of(id);
    const sum = { rows: before.rows + rows, fresh: before.fresh + fresh };
    this.#tables.set(id, { ...before, ...sum, bytes: before.bytes + bytes });
  }

  /** After a change: none is fresh any more. */
  gathered(id: number): void {
    const hot = this.#tables.get(id);
    if (hot) hot.fresh = 0;
  }

  /** After a change: so many are left, none of them fresh. */
  left(id: number, rows: number): void {
    const hot = this.#tables.get(id);
    if (rows === 0) this.#tables.delete(id);
    else if (hot) hot.rows = rows;
  }

  /** They are at least so long. */
  weighed(id: number, bytes: number): void {
    const hot = this.#tables.get(id);
    if (hot) hot.bytes = Math.max(hot.bytes, bytes);
  }

  /** Somebody looks at the clock. */
  lookedAt(nowMs: number): void {
    for (const hot of this.#tables.values()) hot.sinceMs ??= nowMs;
  }

  /** See `Lake.isFull`. */
  get isFull(): boolean {
    const most = 2 * limits.hotRowGroupBytesMax;
    return [...this.#tables.values()].some((hot) => rowGroupBytes(hot) >= most);
  }
}
