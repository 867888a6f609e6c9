import { fault, messageOf } from '../base/index.ts';
import type { DuckWriter } from './duckdb.ts';
import { refusalOf } from './guard.ts';
import type { Predicate } from './lake-types.ts';
import { receiptSql } from './receipts.ts';
import { quoted, type StoredTable } from './views.ts';

/** Our own columns that a predicate may name. */
const ownNames = new Set(['time', '_rescued_data', '_receipt']);
/** A name that no column has. */
const receiptName = '"#"';

/** What a row looks like with this as the only thing that is selected. */
type Node = {
  readonly type: string;
  readonly select_list: readonly unknown[];
  readonly from_table: { readonly type: string };
  readonly where_clause: unknown;
  readonly group_expressions: readonly unknown[];
  readonly modifiers: readonly unknown[];
  readonly cte_map: { readonly map: readonly unknown[] };
};

/**
 * Reads the condition of a WHERE: one expression about one row, which the engine writes anew.
 * @throws BAD_PREDICATE
 */
export async function readPredicate(engine: DuckWriter, text: string): Promise<Predicate> {
  const asked = quoted(`SELECT (\n${text}\n)`);
  const refuse = (reason: string) => fault('BAD_PREDICATE', { seen: text.slice(0, 200), reason });
  const [parsed] = await engine.all(`SELECT json_serialize_sql(${asked}::VARCHAR) AS tree`);
  const serialized = parsed?.tree as string;
  const {
    error,
    error_message: why,
    statements,
  } = JSON.parse(serialized) as {
    readonly error: boolean;
    readonly error_message?: string;
    readonly statements?: readonly { readonly node: Node }[];
  };
  if (error) throw refuse(why ?? 'it cannot be read');
  const refusal = refusalOf(serialized);
  if (refusal !== undefined) throw refuse(`${refusal} is not allowed`);
  const node = statements?.[0]?.node;
  if (!node || !isOneExpression(node)) throw refuse('it is not one expression');
  const names = new Set<string>();
  const found = walk(node.select_list, names);
  if (found !== undefined) throw refuse(found);
  if (names.size === 0) throw refuse('it names no column');
  const [written] = await engine.all(
    `SELECT json_deserialize_sql(json_serialize_sql(${asked}::VARCHAR)) AS sql`,
  );
  const { sql } = written as { readonly sql: string };
  return { text, sql: sql.replace(/^SELECT /, ''), names: [...names] };
}

function isOneExpression(node: Node): boolean {
  const { type, select_list: selected, from_table: from, where_clause: where } = node;
  const extras = [...node.group_expressions, ...node.modifiers, ...node.cte_map.map];
  const isBare = from.type === 'EMPTY' && where === null && extras.length === 0;
  return type === 'SELECT_NODE' && selected.length === 1 && isBare;
}

/** Collects the names of columns, lowered; says what has no place in a predicate. */
function walk(root: unknown, names: Set<string>): string | undefined {
  const open: unknown[] = [root];
  while (open.length > 0) {
    const node = open.pop();
    if (typeof node !== 'object' || node === null) continue;
    const { class: kind, column_names: path } = node as Record<string, unknown>;
    if (kind === 'SUBQUERY' || kind === 'WINDOW' || kind === 'PARAMETER' || kind === 'STAR') {
      return `a ${kind.toLowerCase()} has no place in it`;
    }
    if (kind === 'COLUMN_REF') {
      const [name, second] = path as readonly string[];
      if (name === undefined || second !== undefined) return 'columns are named without a table';
      // No column is called anything else; names stand in the SQL that looks for them.
      if (!/^\w+$/.test(name)) return `no column is called ${name.slice(0, 80)}`;
      names.add(name.toLowerCase());
    }
    open.push(...Object.values(node));
  }
  return undefined;
}

/** Names that are no column of a table: values of them may have been rescued. */
export function strangeNames({ columns }: StoredTable, { names }: Predicate): readonly string[] {
  return names.filter((name) => !columns.has(name) && !ownNames.has(name));
}

/**
 * The receipts, as numbers, of the rows of a source for which a predicate holds; where it cannot
 * be told, as for 'ann' in a column of numbers, it does not.
 * @param source a relation of the table.
 */
export function matchesSql(table: StoredTable, source: string, predicate: Predicate): string {
  const strange = strangeNames(table, predicate).map((name) => `, NULL::VARCHAR AS "${name}"`);
  return `SELECT ${receiptName} AS receipt FROM (
    SELECT * REPLACE (${receiptSql('_receipt')} AS _receipt), _receipt AS ${receiptName}
      ${strange.join('')} FROM (${source})) WHERE TRY(${predicate.sql})`;
}

/**
 * The same for lines of texts, by name, with `#` as their receipt: what a column cannot hold, or
 * what is in no table.
 */
export async function matchesInLines(
  engine: DuckWriter,
  path: string,
  predicate: Predicate,
  table: StoredTable | undefined,
): Promise<readonly bigint[]> {
  const names = predicate.names.map((name) => `"${name}": 'VARCHAR'`);
  const lines = `read_ndjson(${quoted(path)}, columns = {"#": 'BIGINT', ${names.join(', ')}})`;
  const typed = predicate.names.map((name) => {
    const type = name === 'time' ? 'BIGINT' : (table?.columns.get(name)?.type ?? 'VARCHAR');
    return `TRY_CAST("${name}" AS ${type}) AS "${name}"`;
  });
  const sources = [lines, `(SELECT ${receiptName}, ${typed.join(', ')} FROM ${lines})`];
  let failure: unknown;
  for (const source of sources) {
    try {
      const rows = await engine.all(`SELECT DISTINCT ${receiptName}::VARCHAR AS receipt
        FROM ${source} WHERE TRY(${predicate.sql})`);
      return rows.map(({ receipt }) => BigInt(receipt as string));
    } catch (error) {
      // Perhaps it asks for functions of a type that text has not.
      failure = error;
    }
  }
  const seen = predicate.text.slice(0, 200);
  throw fault('BAD_PREDICATE', { seen, reason: messageOf(failure) }, failure);
}
