import { fault, type Ids, limits } from '../base/index.ts';
import { fingerprintOf } from '../event/index.ts';
import { type KeyEntry, type KeyState, stateOf } from './entry.ts';
import { changeKeys } from './file.ts';

/*
 * What the commands do to the keys. A running server sees each change at its next batch. A key in
 * force is meant by its id or by its name.
 */

/** What a new key may do, and until when. */
export type NewKey = Pick<KeyEntry, 'database' | 'table' | 'origins' | 'strict' | 'expiresAt'> & {
  readonly name?: string | undefined;
};

/** A member that is there and undefined is removed. */
export type KeyChanges = Partial<
  Pick<KeyEntry, 'name' | 'database' | 'table' | 'origins' | 'expiresAt'>
>;

/** The key itself, which is had this once, and what is kept of it. */
export type MadeKey = { readonly key: string; readonly entry: KeyEntry };

/** What is kept of a key that was made elsewhere, and what it was here before, if it was known. */
export type ImportedKey = { readonly entry: KeyEntry; readonly was: KeyState | undefined };

/** Makes a key and stores its fingerprint. @throws TOO_MANY_KEYS, BAD_KEYS_FILE */
export async function createKey(
  dataDirectory: string,
  given: NewKey,
  ids: Ids,
  nowMs: number,
): Promise<MadeKey> {
  const made = makeKey(given, ids, nowMs);
  return changeKeys(dataDirectory, (keys) => [withOneMore(keys, made.entry), made]);
}

/**
 * Stores the fingerprint of a key that was made elsewhere. A revoked or expired key is brought
 * back under its id.
 * @throws KEY_EXISTS while it is in force, TOO_MANY_KEYS, BAD_KEYS_FILE
 */
export async function importKey(
  dataDirectory: string,
  key: string,
  given: NewKey,
  ids: Ids,
  nowMs: number,
): Promise<ImportedKey> {
  const entry = entryOf(key, given, ids, nowMs);
  return changeKeys<ImportedKey>(dataDirectory, (keys) => {
    const known = keys.find(({ fingerprint }) => fingerprint === entry.fingerprint);
    if (!known) return [withOneMore(keys, entry), { entry, was: undefined }];
    const was = stateOf(known, nowMs);
    const { id, createdAt } = known;
    if (was === 'in force') throw fault('KEY_EXISTS', { id });
    const back = { ...entry, id, name: given.name ?? known.name, createdAt };
    return [replaced(keys, back), { entry: back, was }];
  });
}

/**
 * Makes a key with the name, scope and rules of one that is in force, which stays so.
 * @param ends.oldExpiresAt ends the old key then, unless it ends sooner.
 * @throws NO_SUCH_KEY, KEY_AMBIGUOUS, KEY_GIVEN, TOO_MANY_KEYS, BAD_KEYS_FILE
 */
export async function rotateKey(
  dataDirectory: string,
  which: string,
  ends: { readonly expiresAt?: string | undefined; readonly oldExpiresAt?: string | undefined },
  ids: Ids,
  nowMs: number,
): Promise<MadeKey & { readonly old: KeyEntry }> {
  return changeKeys(dataDirectory, (keys) => {
    const found = theOne(keys, which, nowMs);
    const made = makeKey({ ...found, expiresAt: ends.expiresAt }, ids, nowMs);
    const old = { ...found, expiresAt: sooner(found.expiresAt, ends.oldExpiresAt) };
    return [withOneMore(replaced(keys, old), made.entry), { ...made, old }];
  });
}

/** Changes one key in force. @throws NO_SUCH_KEY, KEY_AMBIGUOUS, KEY_GIVEN, BAD_KEYS_FILE */
export async function changeKey(
  dataDirectory: string,
  which: string,
  changes: KeyChanges,
  nowMs: number,
): Promise<KeyEntry> {
  return changeKeys(dataDirectory, (keys) => {
    const entry = { ...theOne(keys, which, nowMs), ...changes };
    return [replaced(keys, entry), entry];
  });
}

/**
 * Revokes one key in force; with `all` every key of an id or name that is not revoked, since an
 * expired one could be brought back.
 * @throws NO_SUCH_KEY, KEY_AMBIGUOUS, KEY_GIVEN, BAD_KEYS_FILE
 */
export async function revokeKey(
  dataDirectory: string,
  which: string,
  nowMs: number,
  all = false,
): Promise<readonly KeyEntry[]> {
  const revokedAt = new Date(nowMs).toISOString();
  return changeKeys(dataDirectory, (keys) => {
    const revoked = keysToRevoke(keys, which, nowMs, all).map((entry) => ({ ...entry, revokedAt }));
    return [revoked.reduce(replaced, keys), revoked];
  });
}

/** The keys that `revokeKey` would revoke. @throws NO_SUCH_KEY, KEY_AMBIGUOUS, KEY_GIVEN */
export function keysToRevoke(
  keys: readonly KeyEntry[],
  which: string,
  nowMs: number,
  all: boolean,
): readonly KeyEntry[] {
  return all ? every(keys, which) : [theOne(keys, which, nowMs)];
}

function makeKey(given: NewKey, ids: Ids, nowMs: number): MadeKey {
  const key = `1/${ids.bytes(20).toString('hex')}`;
  return { key, entry: entryOf(key, given, ids, nowMs) };
}

function entryOf(key: string, given: NewKey, ids: Ids, nowMs: number): KeyEntry {
  const { name, database, table, origins, strict, expiresAt } = given;
  const id = `k_${ids.bytes(5).toString('hex')}`;
  return {
    id,
    name: name ?? id,
    fingerprint: fingerprintOf(key).toString('hex'),
    database,
    table,
    origins,
    strict,
    createdAt: new Date(nowMs).toISOString(),
    expiresAt,
  };
}

function withOneMore(keys: readonly KeyEntry[], entry: KeyEntry): readonly KeyEntry[] {
  if (keys.length >= limits.keysMax) throw fault('TOO_MANY_KEYS', { seen: keys.length });
  return [...keys, entry];
}

function replaced(keys: readonly KeyEntry[], entry: KeyEntry): readonly KeyEntry[] {
  return keys.map((other) => (other.id === entry.id ? entry : other));
}

/** The key in force that is meant. An id goes before a name: a key without a name has its id's. */
function theOne(keys: readonly KeyEntry[], which: string, nowMs: number): KeyEntry {
  mustBeNoKey(keys, which);
  const isId = keys.some(({ id }) => id === which);
  const found = keys.filter(({ id, name }) => (isId ? id : name) === which);
  const [one, ...others] = found.filter((key) => stateOf(key, nowMs) === 'in force');
  if (!one) throw fault('NO_SUCH_KEY', { seen: which });
  if (others.length === 0) return one;
  const ids = [one, ...others].map(({ id }) => id).join(', ');
  throw fault('KEY_AMBIGUOUS', { seen: which, ids });
}

function every(keys: readonly KeyEntry[], which: string): readonly KeyEntry[] {
  mustBeNoKey(keys, which);
  const found = keys.filter(({ id, name }) => id === which || name === which);
  const meant = found.filter(({ revokedAt }) => revokedAt === undefined);
  if (meant.length === 0) throw fault('NO_SUCH_KEY', { seen: which });
  return meant;
}

/** A key that is taken for its id must not come back in a message. */
function mustBeNoKey(keys: readonly KeyEntry[], which: string): void {
  const hex = fingerprintOf(which).toString('hex');
  const isKey = keys.some(({ fingerprint }) => fingerprint === hex);
  if (isKey || /^\d+\/[0-9a-f]{8,}$/i.test(which)) throw fault('KEY_GIVEN');
}

function sooner(one: string | undefined, other: string | undefined): string | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Date.parse(one) <= Date.parse(other) ? one : other;
}
