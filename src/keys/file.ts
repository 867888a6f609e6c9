import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  DirectoryLock,
  fault,
  type Ids,
  limits,
  messageOf,
  writeFileAtomic,
} from '../base/index.ts';
import { fingerprintOf } from '../event/index.ts';
import { fileSchema, type KeyEntry } from './entry.ts';

const lockWaitMs = 5_000;

export function keysPath(dataDirectory: string): string {
  return join(dataDirectory, 'keys.json');
}

/** All keys, revoked ones included, oldest first. @throws BAD_KEYS_FILE */
export async function listKeys(dataDirectory: string): Promise<readonly KeyEntry[]> {
  const path = keysPath(dataDirectory);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return parseKeys(path, text);
}

/** @throws BAD_KEYS_FILE */
export function parseKeys(path: string, text: string): readonly KeyEntry[] {
  try {
    return fileSchema.parse(JSON.parse(text)).keys;
  } catch (error) {
    throw fault('BAD_KEYS_FILE', { seen: path, reason: messageOf(error) }, error);
  }
}

/**
 * Makes a key and stores its fingerprint. A running server sees it at its next batch.
 * @throws TOO_MANY_KEYS, BAD_KEYS_FILE
 */
export async function createKey(
  dataDirectory: string,
  scope: Pick<KeyEntry, 'database' | 'table' | 'origins' | 'strict'> & { readonly name?: string },
  ids: Ids,
  nowMs: number,
): Promise<{ readonly key: string; readonly entry: KeyEntry }> {
  const key = `1/${ids.bytes(20).toString('hex')}`;
  const id = `k_${ids.bytes(5).toString('hex')}`;
  const entry: KeyEntry = {
    id,
    name: scope.name ?? id,
    fingerprint: fingerprintOf(key).toString('hex'),
    database: scope.database,
    ...(scope.table === undefined ? {} : { table: scope.table }),
    ...(scope.origins === undefined ? {} : { origins: scope.origins }),
    ...(scope.strict === undefined ? {} : { strict: scope.strict }),
    createdAt: new Date(nowMs).toISOString(),
  };
  await change(dataDirectory, (keys) => {
    if (keys.length >= limits.keysMax) throw fault('TOO_MANY_KEYS', { seen: keys.length });
    return [...keys, entry];
  });
  return { key, entry };
}

/**
 * Revokes the keys in force whose id or name is `which`; returns them.
 * @throws NO_SUCH_KEY
 */
export async function revokeKey(
  dataDirectory: string,
  which: string,
  nowMs: number,
): Promise<readonly KeyEntry[]> {
  const revokedAt = new Date(nowMs).toISOString();
  const revoked: KeyEntry[] = [];
  await change(dataDirectory, (keys) =>
    keys.map((entry) => {
      const meant = entry.id === which || entry.name === which;
      if (!meant || entry.revokedAt !== undefined) return entry;
      const changed = { ...entry, revokedAt };
      revoked.push(changed);
      return changed;
    }),
  );
  if (revoked.length === 0) throw fault('NO_SUCH_KEY', { seen: which });
  return revoked;
}

/** Reads, changes and replaces the file while no other process does. */
async function change(
  dataDirectory: string,
  apply: (keys: readonly KeyEntry[]) => readonly KeyEntry[],
): Promise<void> {
  const path = keysPath(dataDirectory);
  const lock = await DirectoryLock.take(`${path}.lock`, () => 'another command', lockWaitMs);
  try {
    const keys = apply(await listKeys(dataDirectory));
    await writeFileAtomic(path, `${JSON.stringify({ keys }, null, 2)}\n`);
  } finally {
    lock.release();
  }
}
