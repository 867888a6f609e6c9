import { rm, writeFile } from 'node:fs/promises';
import { fault, messageOf } from '../base/index.ts';
import { columnName, membersOf } from '../event/index.ts';
import { tableKey } from './catalog.ts';
import type { DuckWriter } from './duckdb.ts';
import type { Between, Candidate, Eraser, Erasure, OpenErasure, Predicate } from './lake-types.ts';
import type { DuckLake } from './lake.ts';
import { renewFresh } from './fresh.ts';
import { matchesInLines, matchesSql, readPredicate, strangeNames } from './predicate.ts';
import { nowSql, quoted, type Relations, type StoredTable } from './views.ts';

type Parts = {
  readonly lake: DuckLake;
  readonly tables: ReadonlyMap<string, StoredTable>;
  readonly relations: Relations;
  readonly writer: DuckWriter;
  readonly archiver: DuckWriter;
  /** A new connection, for rows that are read while others are written. */
  readonly connect: () => Promise<DuckWriter>;
  readonly stagingPath: () => string;
  /** After a transaction. */
  readonly settle: () => Promise<void>;
};

/** Characters of lines that are written at once. */
const linesMax = 4 * 1024 * 1024;

/** Finds rows by a predicate, also by what is rescued of them, and removes them for good. */
export class DuckEraser implements Eraser {
  readonly #parts: Parts;

  #open: readonly OpenErasure[];

  private constructor(parts: Parts, open: readonly OpenErasure[]) {
    this.#parts = parts;
    this.#open = open;
  }

  static async open(parts: Parts): Promise<DuckEraser> {
    const rows = await parts.archiver.all('FROM mr.erasures WHERE finished_at IS NULL ORDER BY id');
    const open = rows.map((row) => ({
      id: Number(row.id),
      database: row.database as string,
      table: row.table as string,
      where: row.condition as string,
      areRowsGone: row.rows_gone === true,
      until: new Map(JSON.parse(row.until as string) as [number, number][]),
    }));
    return new DuckEraser(parts, open);
  }

  get open(): readonly OpenErasure[] {
    return this.#open;
  }

  async begin(
    database: string,
    table: string,
    where: string,
    until: ReadonlyMap<number, number>,
  ): Promise<number> {
    const { writer, settle } = this.#parts;
    const [last] = await writer.all('SELECT coalesce(max(id), 0) AS id FROM mr.erasures');
    const id = Number(last?.id) + 1;
    const texts = [database, table, where].map(quoted).join(', ');
    await writer.transact(() =>
      writer.run(`INSERT INTO mr.erasures VALUES (${id}, ${texts}, ${nowSql}, NULL, 0, 0, 0,
        ${quoted(JSON.stringify([...until]))}, false)`),
    );
    this.#open = [...this.#open, { id, database, table, where, areRowsGone: false, until }];
    await settle();
    return id;
  }

  async rowsGone(id: number): Promise<void> {
    const { writer, settle } = this.#parts;
    await writer.transact(() =>
      writer.run(`UPDATE mr.erasures SET rows_gone = true WHERE id = ${id}`),
    );
    this.#open = this.#open.map((one) => (one.id === id ? { ...one, areRowsGone: true } : one));
    await settle();
  }

  async finish(id: number): Promise<void> {
    const { writer, settle } = this.#parts;
    await writer.transact(() =>
      writer.run(`UPDATE mr.erasures SET finished_at = ${nowSql} WHERE id = ${id}`),
    );
    this.#open = this.#open.filter((one) => one.id !== id);
    await settle();
  }

  async predicate(database: string, table: string, text: string): Promise<Predicate> {
    const { archiver, tables, relations } = this.#parts;
    const predicate = await readPredicate(archiver, text);
    const stored = tables.get(tableKey(database, table));
    if (!stored) return predicate;
    try {
      const none = relations.all({ ...stored, files: [], sealed: undefined });
      await archiver.all(`${matchesSql(stored, none, predicate)} LIMIT 0`);
    } catch (error) {
      const reason = messageOf(error).split('\n')[0] ?? '';
      throw fault('BAD_PREDICATE', { seen: text.slice(0, 200), reason }, error);
    }
    return predicate;
  }

  async count(database: string, name: string, predicate: Predicate): Promise<Erasure> {
    const { lake, relations, tables } = this.#parts;
    const table = tables.get(tableKey(database, name));
    if (!table) return { hot: 0, files: 0 };
    return lake.reading(async () => {
      const hot = relations.all({ ...table, files: [] });
      const inHot = await this.#collect(this.#parts.archiver, table, hot, predicate);
      let inFiles = 0;
      for (const file of table.files) {
        const source = relations.files(table, [file]);
        inFiles += await this.#collect(this.#parts.archiver, table, source, predicate);
      }
      return { hot: inHot, files: inFiles };
    });
  }

  async erase(
    id: number,
    database: string,
    name: string,
    predicate: Predicate,
    between: Between,
    progress: (files: number, total: number) => void,
  ): Promise<void> {
    const { lake, relations, tables, writer, archiver } = this.#parts;
    if (!tables.has(tableKey(database, name))) return;
    await lake.rewrite(database, name, between, {
      files: [],
      hot: async (table) => {
        const hot = `mr.hot_${table.id}`;
        const source = relations.all({ ...table, files: [] });
        if ((await this.#collect(writer, table, source, predicate)) === 0) return table;
        // Deleted rows would stay in the engine's blocks: what is kept goes to a new table.
        await writer.run(`CREATE TABLE ${hot}_new AS FROM ${hot}
          WHERE _receipt NOT IN (FROM erased)`);
        await writer.run(`DROP TABLE ${hot}`);
        await writer.run(`ALTER TABLE ${hot}_new RENAME TO hot_${table.id}`);
        await renewFresh(writer);
        return table;
      },
      note: (removed) => this.note(id, 'hot', removed),
    });
    const files = tables.get(tableKey(database, name))?.files ?? [];
    for (const [index, file] of files.entries()) {
      progress(index, files.length);
      await lake.rewrite(database, name, between, {
        files: [file],
        partOf: async (table) => {
          const source = relations.files(table, [file]);
          const gone = await this.#collect(archiver, table, source, predicate);
          if (gone === 0) return undefined;
          const kept = `SELECT * FROM (${source}) WHERE _receipt NOT IN (FROM erased)`;
          return { source: kept, rows: file.rows - gone };
        },
        note: (removed) => this.note(id, 'files', removed),
      });
    }
    progress(files.length, files.length);
  }

  async matches(
    database: string,
    table: string,
    predicate: Predicate,
    candidates: readonly Candidate[],
  ): Promise<readonly bigint[]> {
    const stored = this.#parts.tables.get(tableKey(database, table));
    const path = this.#parts.stagingPath();
    try {
      await writeFile(path, candidates.map(lineOf).join('\n'));
      return await matchesInLines(this.#parts.archiver, path, predicate, stored);
    } finally {
      await rm(path, { force: true });
    }
  }

  /** As part of an open transaction: what was removed where. */
  async note(id: number, place: 'hot' | 'files' | 'quarantine', events: number): Promise<void> {
    await this.#parts.writer.run(`UPDATE mr.erasures SET ${place} = ${place} + ${events}
      WHERE id = ${id}`);
  }

  /** Fills the temporary table `erased` of a connection. @returns how many rows are in it */
  async #collect(
    engine: DuckWriter,
    table: StoredTable,
    source: string,
    predicate: Predicate,
  ): Promise<number> {
    const matches = matchesSql(table, source, predicate);
    await engine.run(`CREATE OR REPLACE TEMP TABLE erased AS ${matches}`);
    const path = this.#parts.stagingPath();
    const reader = await this.#parts.connect();
    try {
      if (await writeRescued(reader, table, source, predicate, path)) {
        const more = await matchesInLines(engine, path, predicate, table);
        const rows = more.map((receipt) => `(${receipt})`).join(', ');
        if (more.length > 0) await engine.run(`INSERT INTO erased VALUES ${rows}`);
      }
    } finally {
      reader.close();
      await rm(path, { force: true });
    }
    const [found] = await engine.all('SELECT count(DISTINCT receipt) AS n FROM erased');
    return Number(found?.n);
  }
}

/** Writes rows whose rescued values have a name of the predicate. @returns whether there are any */
async function writeRescued(
  reader: DuckWriter,
  table: StoredTable,
  source: string,
  predicate: Predicate,
  path: string,
): Promise<boolean> {
  const strange = new Set(strangeNames(table, predicate));
  const names = predicate.names.filter((name) => !strange.has(name));
  const values = names.map((name) => `"${name}"::VARCHAR`);
  let lines = '';
  let hasAny = false;
  await writeFile(path, '');
  const chunks =
    reader.stream(`SELECT ${['_receipt::VARCHAR', '_rescued_data', ...values].join(', ')}
    FROM (${source}) WHERE _rescued_data IS NOT NULL`);
  for await (const rows of chunks) {
    for (const [receipt, rescued, ...cells] of rows as readonly (readonly (string | null)[])[]) {
      const known = new Map<string, string>();
      for (const [at, name] of names.entries()) {
        const cell = cells[at];
        if (cell !== null && cell !== undefined) known.set(name, cell);
      }
      for (const { name, text } of textsOf(rescued ?? '{}')) {
        if (!predicate.names.includes(name)) continue;
        lines += `${lineOf({ receipt: receipt ?? '', values: new Map(known).set(name, text) })}\n`;
        hasAny = true;
      }
      if (lines.length < linesMax) continue;
      await writeFile(path, lines, { flag: 'a' });
      lines = '';
    }
  }
  await writeFile(path, lines, { flag: 'a' });
  return hasAny;
}

/** The values of a JSON object, by the column that each is meant for; nulls left out. */
function textsOf(json: string): readonly { readonly name: string; readonly text: string }[] {
  return membersOf(json).flatMap(({ key, kind, text }) => {
    if (kind === 'null') return [];
    return [{ name: columnName(key), text: kind === 'string' ? String(JSON.parse(text)) : text }];
  });
}

function lineOf({ receipt, values }: Candidate): string {
  const cells = [...values].map(([name, text]) => `,${JSON.stringify(name)}:${jsonOf(text)}`);
  return `{"#":${receipt}${cells.join('')}}`;
}

/** Half a surrogate pair, which the engine cannot read, is no part of any value it is asked for. */
function jsonOf(text: string): string {
  return JSON.stringify(text.toWellFormed());
}
