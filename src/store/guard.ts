/*
 * What users' SQL may call. The engine's own read-only mode and its closed file system leave
 * holes: functions that change settings, write logs or read the store's own files. So the tree of
 * a statement is looked at before it runs.
 */

/** Table functions that only make or show rows. Any other is refused. */
const tableFunctions = new Set([
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

/** Functions with effects, and those whose recursion a deep value turns into a crash. */
const refusedFunctions = new Set([
  'write_log',
  'json_structure',
  'json_group_structure',
  'json_merge_patch',
]);

/** The refusal of what is no SELECT. */
export const otherStatement = 'a statement of another kind';

type Serialized = {
  readonly error: boolean;
  readonly error_type?: string;
  readonly error_message?: string;
  readonly statements?: readonly unknown[];
};

/**
 * Why a statement may not run; undefined if it may.
 * @param serialized what the engine's `json_serialize_sql` gave for it.
 */
export function refusalOf(serialized: string): string | undefined {
  const tree = JSON.parse(serialized) as Serialized;
  if (tree.error) {
    // What the parser cannot read, the engine itself explains best.
    return tree.error_type === 'not implemented' ? otherStatement : undefined;
  }
  const count = tree.statements?.length ?? 0;
  if (count !== 1) return `${count} statements`;
  const name = refusedIn(tree.statements);
  return name === undefined ? undefined : `the function ${name}`;
}

/** The first function in a tree that may not be called. */
function refusedIn(root: unknown): string | undefined {
  const open: unknown[] = [root];
  while (open.length > 0) {
    const node = open.pop();
    if (typeof node !== 'object' || node === null) continue;
    const { type, function: called, function_name: name } = node as Record<string, unknown>;
    if (type === 'TABLE_FUNCTION') {
      const tableName = nameOf((called as Record<string, unknown> | undefined)?.function_name);
      if (!tableFunctions.has(tableName)) return tableName;
    }
    if (refusedFunctions.has(nameOf(name))) return nameOf(name);
    for (const child of Object.values(node)) open.push(child);
  }
  return undefined;
}

function nameOf(name: unknown): string {
  return typeof name === 'string' ? name.toLowerCase() : '';
}
