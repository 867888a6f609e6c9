import { z } from 'zod';
import { fault, limits, type MillraceError } from '../base/index.ts';

const { nameLengthMin, nameLengthMax } = limits;
const nameForm = new RegExp(`^[a-z0-9_]{${nameLengthMin},${nameLengthMax}}$`);
const patternForm = new RegExp(`^(?=.*\\*)[a-z0-9_*]{1,${nameLengthMax}}$`);

const scope = z
  .string('expected text')
  .refine(
    (text) => nameForm.test(text) || patternForm.test(text),
    `expected ${nameLengthMin} to ${nameLengthMax} of the characters a-z, 0-9 and _, ` +
      'or a pattern of these with * for any characters',
  );

const entrySchema = z.strictObject(
  {
    /** Names the key to people and tools; not secret. */
    id: z.string().min(1),
    /** Keys may share a name: the old and the new one of a rotation do. */
    name: z.string(),
    /** SHA-256 of the key, hexadecimal. */
    fingerprint: z
      .string()
      .regex(/^[0-9a-f]{64}$/, "expected the key's SHA-256: 64 of the characters 0-9 and a-f"),
    /** A database's name; `*` in it stands for any run of characters. */
    database: scope,
    /** The same of a table; absent for any. */
    table: scope.optional(),
    /** Origins of the pages that may use it, such as https://shop.example; absent for any. */
    origins: z.array(z.string()).optional(),
    /** Whether a request that it may not make is refused at once, instead of quarantined. */
    strict: z.boolean().optional(),
    /** ISO 8601, UTC. */
    createdAt: z.string(),
    /** The same: what is received from then on is refused; absent for never. */
    expiresAt: z.iso.datetime('expected a time in UTC such as 2026-12-31T00:00:00Z').optional(),
    /** The same; absent while the key is not revoked. */
    revokedAt: z.string().optional(),
  },
  {
    error: ({ code, keys }) =>
      code === 'unrecognized_keys' ? `unknown member ${keys?.join(', ')}` : undefined,
  },
);

export const fileSchema = z.strictObject({ keys: z.array(entrySchema) });

/** One key as it is kept. */
export type KeyEntry = Readonly<z.infer<typeof entrySchema>>;

export type KeyState = 'in force' | 'expired' | 'revoked';

export function stateOf(key: KeyEntry, atMs: number): KeyState {
  if (key.revokedAt !== undefined) return 'revoked';
  const hasExpired = key.expiresAt !== undefined && Date.parse(key.expiresAt) <= atMs;
  return hasExpired ? 'expired' : 'in force';
}

/** Whether a key's scope holds a table; whether the key has expired is not asked. */
export function mayWrite(key: KeyEntry, database: string, table: string): boolean {
  if (key.revokedAt !== undefined) return false;
  if (key.database !== database && !matches(key.database, database)) return false;
  return key.table === undefined || key.table === table || matches(key.table, table);
}

/** A pattern as it is kept, lowered, or why it is none. */
export function checkPattern(kind: 'database' | 'table', raw: string): string | MillraceError {
  const pattern = raw.toLowerCase();
  return patternForm.test(pattern)
    ? pattern
    : fault('BAD_PATTERN', { kind, seen: raw.slice(0, 80) });
}

/**
 * Whether a name is one of a pattern. Each `*` takes as little as it can; when the rest does not
 * fit, the last one takes one character more.
 */
function matches(pattern: string, name: string): boolean {
  if (pattern === '*') return true;
  if (!pattern.includes('*')) return false;
  let [inPattern, inName, star, starEnd] = [0, 0, -1, 0];
  while (inName < name.length) {
    if (pattern[inPattern] === '*') {
      star = inPattern;
      starEnd = inName;
      inPattern += 1;
    } else if (pattern[inPattern] === name[inName]) {
      inPattern += 1;
      inName += 1;
    } else if (star >= 0) {
      starEnd += 1;
      inPattern = star + 1;
      inName = starEnd;
    } else return false;
  }
  while (pattern[inPattern] === '*') inPattern += 1;
  return inPattern === pattern.length;
}
