import { join } from 'node:path';
import type { LakeFile } from './lake-types.ts';
import { receiptSql } from './receipts.ts';
import type { Column, ColumnType, TableSchema } from './types.ts';

/*
 * What a table is made of, as SQL. Names are safe in it: databases, tables and columns hold only
 * a-z, 0-9 and _; the path of the lake is quoted.
 */

/** A table of the catalog. */
export type StoredTable = TableSchema & {
  readonly id: number;
  /** The generation that is on its way to files, if there is one. */
  readonly sealed:
    | { readonly columns: ReadonlyMap<string, Column>; readonly rows: number }
    | undefined;
  /** By day, then by the time of the first row. */
  readonly files: readonly LakeFile[];
};

/** Our own columns with their types, at both ends of a row. */
const own = { time: 'BIGINT', _rescued_data: 'VARCHAR', _receipt: 'BIGINT' } as const;

/** Folder of a day's files, below the lake. */
export function dayFolder({ database, table }: TableSchema, day: string): string {
  return join(database, table, `date=${day}`);
}

/** Path of a file, below the lake. */
export function filePath(table: TableSchema, { day, name }: LakeFile): string {
  return join(dayFolder(table, day), `${name}.parquet`);
}

/** Where the rows of a table are, as relations with its columns; receipts are numbers. */
export class Relations {
  readonly #lake: string;

  /** @param lake its folder, an absolute path. */
  constructor(lake: string) {
    this.#lake = lake;
  }

  /** All rows, in the order in which they came, more or less. */
  all(table: StoredTable): string {
    const { id, files, sealed } = table;
    const parts = [
      ...(files.length > 0 ? [this.files(table, files)] : []),
      ...(sealed ? [this.sealed(table)] : []),
      `SELECT ${namesOf(table)} FROM mr.hot_${id}`,
      this.fresh(table),
    ];
    return `(${parts.join('\n UNION ALL ')})`;
  }

  /** The rows of some files. */
  files(table: TableSchema, files: readonly LakeFile[]): string {
    const schema = typesOf(table).map(([name, type]) => {
      return `'${name}': {name: '${name}', type: '${type}', default_value: NULL}`;
    });
    return `SELECT ${namesOf(table)} FROM read_parquet([${this.paths(table, files).join(', ')}],
      schema = MAP {${schema.join(', ')}})`;
  }

  /** The paths of files, quoted. */
  paths(table: TableSchema, files: readonly LakeFile[]): readonly string[] {
    return files.map((file) => quoted(join(this.#lake, filePath(table, file))));
  }

  /** The rows of the sealed generation; columns that came later are NULL. */
  sealed({ id, columns, sealed }: StoredTable): string {
    const names = [...columns.values()].map(({ name, type }) => {
      const old = sealed?.columns.get(name);
      if (!old) return `NULL::${type} AS "${name}"`;
      return old.type === type ? `"${name}"` : `"${name}"::${type} AS "${name}"`;
    });
    return `SELECT ${['time', ...names, '_rescued_data', '_receipt'].join(', ')}
      FROM mr.sealed_${id}`;
  }

  /** Its rows in `mr.fresh`. */
  fresh({ id, columns }: StoredTable): string {
    const cells = [...columns.values()].map(({ name, type }, index) => {
      return `cells[${index + 1}]::${type} AS "${name}"`;
    });
    const values = ['time', ...cells, 'rescued AS _rescued_data', 'receipt AS _receipt'];
    return `SELECT ${values.join(', ')} FROM mr.fresh WHERE table_id = ${id}`;
  }

  /** The table as users see it. */
  view(table: StoredTable): string {
    const names = [...table.columns.keys()].map((name) => `"${name}"`);
    return `CREATE OR REPLACE VIEW "${table.database}"."${table.table}" AS
    SELECT ${['time', ...names, '_rescued_data', receiptSql('_receipt')].join(', ')} AS _receipt
    FROM ${this.all(table)}`;
  }
}

/** The columns of a row in a file and in a hot table that is made anew. */
export function namesOf({ columns }: TableSchema): string {
  return [
    'time',
    ...[...columns.keys()].map((name) => `"${name}"`),
    '_rescued_data',
    '_receipt',
  ].join(', ');
}

function typesOf({ columns }: TableSchema): readonly (readonly [string, string])[] {
  const mine = [...columns.values()].map(({ name, type }): [string, ColumnType] => [name, type]);
  const { time, _rescued_data, _receipt } = own;
  return [['time', time], ...mine, ['_rescued_data', _rescued_data], ['_receipt', _receipt]];
}

export function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export const nowSql = `now() AT TIME ZONE 'UTC'`;
