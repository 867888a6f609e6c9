import { fault, limits, type MillraceError } from '../base/index.ts';

/** Databases of our own and of the SQL engine, which a sender cannot write to. */
const reservedDatabases = new Set([
  'millrace',
  'main',
  'temp',
  'system',
  'pg_catalog',
  'information_schema',
]);

const { nameLengthMin, nameLengthMax } = limits;
const namePattern = new RegExp(`^[A-Za-z0-9_]{${nameLengthMin},${nameLengthMax}}$`);

/** The name of a database, lowered, or why it is none. */
export function checkDatabase(raw: string): string | MillraceError {
  const name = checkName('database', raw);
  if (typeof name === 'string' && reservedDatabases.has(name)) {
    return fault('RESERVED_NAME', { seen: name });
  }
  return name;
}

/** The name of a table, lowered, or why it is none. */
export function checkTable(raw: string): string | MillraceError {
  return checkName('table', raw);
}

function checkName(kind: string, raw: string): string | MillraceError {
  return namePattern.test(raw)
    ? raw.toLowerCase()
    : fault('BAD_NAME', { kind, seen: raw.slice(0, 80) });
}

/**
 * The column that a key of a record goes to: lowered, other characters as `_`, no leading digit.
 * Different keys can get the same name; the loader keeps them apart.
 */
export function columnName(key: string): string {
  const name = key.toLowerCase().replace(/[^a-z0-9_]/gu, '_');
  return name === '' || (name[0] ?? '') <= '9' ? `_${name}` : name;
}
