import { z } from 'zod';

const entrySchema = z.strictObject({
  /** Names the key to people and tools; not secret. */
  id: z.string().min(1),
  name: z.string(),
  /** SHA-256 of the key, hexadecimal. */
  fingerprint: z.string().regex(/^[0-9a-f]{64}$/),
  /** A database's name, or `*` for any. */
  database: z.string().min(1),
  /** A table's name; absent for any. */
  table: z.string().min(1).optional(),
  /** Origins of the pages that may use it, such as https://shop.example; absent for any. */
  origins: z.array(z.string()).optional(),
  /** Whether a request that it may not make is refused at once, instead of quarantined. */
  strict: z.boolean().optional(),
  /** ISO 8601, UTC. */
  createdAt: z.string(),
  /** ISO 8601, UTC; absent while the key is in force. */
  revokedAt: z.string().optional(),
});

export const fileSchema = z.strictObject({ keys: z.array(entrySchema) });

/** One key as it is kept. */
export type KeyEntry = Readonly<z.infer<typeof entrySchema>>;

/** Whether a key's scope holds a table. */
export function mayWrite(key: KeyEntry, database: string, table: string): boolean {
  if (key.revokedAt !== undefined) return false;
  if (key.database !== '*' && key.database !== database) return false;
  return key.table === undefined || key.table === table;
}
