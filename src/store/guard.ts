import { limits } from '../base/index.ts';

/*
 * What users' SQL may call and read. The engine's own read-only mode and its closed file system
 * leave holes: functions that change settings, write logs or read the store's own files, views
 * that show settings, names of tables that are files, and values that crash it. So the tree of a
 * statement is looked at before it runs. Only the statement: our own views may read files.
 *
 * `test/sandbox.test.ts` holds that nothing the engine has is on no list.
 */

/** Table functions that only make or show rows. Any other is refused. */
export const tableFunctions = new Set([
  'range',
  'generate_series',
  'unnest',
  'repeat',
  'repeat_row',
  'json_each',
  'json_tree',
  'duckdb_tables',
  'duckdb_columns',
  'duckdb_views',
  'duckdb_schemas',
  'duckdb_functions',
  'duckdb_types',
  'duckdb_keywords',
  'pragma_table_info',
]);

/** Functions that may not be called. */
export const refusedFunctions = new Set([
  // They have effects, wait, or tell of settings and of what others do.
  'write_log',
  'parse_duckdb_log_message',
  'getenv',
  'current_setting',
  'nextval',
  'currval',
  'sleep_ms',
  'pg_sleep',
  // They read SQL, or values that look like it, by ways of their own.
  'json_serialize_sql',
  'json_deserialize_sql',
  'json_serialize_plan',
  // A value that is nested deeply crashes the engine in them.
  'json_contains',
  'json_structure',
  'json_group_structure',
  'json_merge_patch',
  // They make types, which are no values of an answer.
  'make_type',
  'get_type',
]);

/** A structure that is nested deeply crashes them: it must stand there as a constant. */
const structured = new Set([
  'from_json',
  'from_json_strict',
  'json_transform',
  'json_transform_strict',
]);

/** Views of the engine that show settings, files or what others do. */
export const refusedViews = new Set([
  'duckdb_databases',
  'duckdb_logs',
  'pg_database',
  'pg_prepared_statements',
  'pg_settings',
  'pg_tablespace',
  'pragma_database_list',
]);

/** Databases are called differently. */
const systemSchemas = new Set(['', 'main', 'pg_catalog', 'information_schema']);

/** A cast of deeply nested JSON to this type crashes the engine. */
const refusedType = 'VARIANT';

/** The refusal of what is no SELECT. */
export const otherStatement = 'a statement of another kind';

/** The refusal of what the engine's parser does not read: it may say itself why. */
export const unreadable = 'what cannot be read';

const columnPartsMax = 100;

type Serialized = {
  readonly error: boolean;
  readonly error_message?: string;
  readonly statements?: readonly unknown[];
};

type Node = Readonly<Record<string, unknown>>;

/**
 * Why a statement may not run; undefined if it may.
 * @param serialized what the engine's `json_serialize_sql` gave for it.
 */
export function refusalOf(serialized: string): string | undefined {
  const tree = JSON.parse(serialized) as Serialized;
  if (tree.error) {
    return /only select/i.test(tree.error_message ?? '') ? otherStatement : unreadable;
  }
  const count = tree.statements?.length ?? 0;
  return count === 1 ? refusedIn(tree.statements) : `${count} statements`;
}

/** The first refusal in a tree. */
function refusedIn(root: unknown): string | undefined {
  const open: unknown[] = [root];
  let parts = 0;
  while (open.length > 0) {
    const node = open.pop();
    if (typeof node !== 'object' || node === null) continue;
    if (!Array.isArray(node)) {
      const refusal = refusalOfNode(node as Node);
      if (refusal !== undefined) return refusal;
      const { type, class: kind } = node as Node;
      if (typeof type === 'string' && kind !== 'CONSTANT') parts += 1;
      if (parts > limits.sqlPartsMax) return `more than ${limits.sqlPartsMax} parts`;
    }
    for (const child of Object.values(node)) open.push(child);
  }
  return undefined;
}

function refusalOfNode(node: Node): string | undefined {
  if (node.type === 'TABLE_FUNCTION') {
    const called = lower((node.function as Node | undefined)?.function_name);
    if (!tableFunctions.has(called)) return `the function ${called}`;
  }
  const name = lower(node.function_name);
  if (refusedFunctions.has(name)) return `the function ${name}`;
  if (structured.has(name) && !hasConstantStructure(node)) {
    return `the function ${name} with a structure that is no constant, or nested deeply`;
  }
  if (node.type === 'BASE_TABLE' || node.type === 'SHOW_REF') return refusalOfTable(node);
  if ([node.id, node.name].some((type) => lower(type) === lower(refusedType))) {
    return `the type ${refusedType}`;
  }
  const { column_names: names } = node;
  const isLong = Array.isArray(names) && names.length > columnPartsMax;
  return isLong ? `a column in more than ${columnPartsMax} parts` : undefined;
}

/** A table that is a file, or a view of the engine that is not for users. */
function refusalOfTable({ catalog_name, schema_name, table_name }: Node): string | undefined {
  const names = [catalog_name, schema_name, table_name].map(lower);
  const file = names.find((name) => /[./\\:*?[\]]/.test(name));
  if (file !== undefined) return `the file ${file.split(/[\\/]/).at(-1)}`;
  const [, schema = '', table = ''] = names;
  return systemSchemas.has(schema) && refusedViews.has(table) ? `the view ${table}` : undefined;
}

function hasConstantStructure({ children }: Node): boolean {
  const structure = (children as readonly Node[] | undefined)?.[1];
  const value = (structure?.value as Node | undefined)?.value;
  if (structure?.class !== 'CONSTANT' || typeof value !== 'string') return false;
  return value.replace(/[^[{]/g, '').length <= limits.nestingMax;
}

function lower(name: unknown): string {
  return typeof name === 'string' ? name.toLowerCase() : '';
}
