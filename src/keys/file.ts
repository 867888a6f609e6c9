import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { DirectoryLock, fault, isMissing, messageOf, writeFileAtomic } from '../base/index.ts';
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
    if (isMissing(error)) return [];
    throw error;
  }
  return parseKeys(path, text);
}

/** @throws BAD_KEYS_FILE */
export function parseKeys(path: string, text: string): readonly KeyEntry[] {
  try {
    const { keys } = fileSchema.parse(JSON.parse(text));
    mustDiffer(keys);
    return keys;
  } catch (error) {
    throw fault('BAD_KEYS_FILE', { seen: path, reason: reasonOf(error) }, error);
  }
}

/**
 * Reads, changes and replaces the file while no other process does.
 * @param apply gives the keys that are to be kept, and what to return.
 * @throws BAD_KEYS_FILE, LOCKED
 */
export async function changeKeys<T>(
  dataDirectory: string,
  apply: (keys: readonly KeyEntry[]) => readonly [keys: readonly KeyEntry[], result: T],
): Promise<T> {
  const path = keysPath(dataDirectory);
  const lock = await DirectoryLock.take(`${path}.lock`, () => 'another command', lockWaitMs);
  try {
    const [keys, result] = apply(await listKeys(dataDirectory));
    await writeFileAtomic(path, `${JSON.stringify({ keys }, null, 2)}\n`);
    return result;
  } finally {
    lock.release();
  }
}

/** The file may be written by hand: two entries for one key would hide one of them. */
function mustDiffer(keys: readonly KeyEntry[]): void {
  const ids = new Set<string>();
  const idOf = new Map<string, string>();
  for (const { id, fingerprint } of keys) {
    if (ids.has(id)) throw new Error(`the id ${id} is there twice`);
    ids.add(id);
    const other = idOf.get(fingerprint);
    if (other !== undefined) {
      throw new Error(`${other} and ${id} have the same fingerprint ${fingerprint}`);
    }
    idOf.set(fingerprint, id);
  }
}

function reasonOf(error: unknown): string {
  const issue = error instanceof z.ZodError ? error.issues[0] : undefined;
  if (!issue) return messageOf(error);
  return [z.core.toDotPath(issue.path), issue.message].filter(Boolean).join(': ');
}
