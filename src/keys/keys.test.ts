import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLogger, type Disk, nodeDisk, randomIds } from '../base/index.ts';
import { fingerprintOf } from '../event/index.ts';
import {
  changeKey,
  createKey,
  importKey,
  KeyRing,
  listKeys,
  mayWrite,
  revokeKey,
  rotateKey,
  stateOf,
} from './index.ts';

describe('keys', () => {
  let data: string;
  const logger = createLogger('silent', 'test');
  const create = (database: string, table?: string) =>
    createKey(data, { database, name: database, ...(table ? { table } : {}) }, randomIds, 0);
  beforeEach(async () => {
    data = await mkdtemp(join(tmpdir(), 'millrace-keys-'));
  });
  afterEach(() => rm(data, { recursive: true }));

  test('a key is given once and kept as a fingerprint', async () => {
    const { key, entry } = await create('shop');
    expect(key).toMatch(/^1\/[0-9a-f]{40}$/);
    expect(entry.fingerprint).toBe(fingerprintOf(key).toString('hex'));
    expect(await readFile(join(data, 'keys.json'), 'utf8')).not.toContain(key.slice(2));
    expect(await listKeys(data)).toEqual([entry]);
  });

  test('keys that are made at the same time are all kept', async () => {
    const made = await Promise.all(Array.from({ length: 20 }, (_, index) => create(`db_${index}`)));
    const kept = (await listKeys(data)).map(({ id }) => id);
    expect(kept.sort()).toEqual(made.map(({ entry }) => entry.id).sort());
  });

  test('a scope is a database, perhaps a table, or everything', async () => {
    const { entry: shop } = await create('shop');
    const { entry: orders } = await create('shop', 'orders');
    const { entry: any } = await create('*');
    const may = (key: typeof shop) => [
      mayWrite(key, 'shop', 'orders'),
      mayWrite(key, 'shop', 'carts'),
      mayWrite(key, 'other', 'orders'),
    ];
    expect([may(shop), may(orders), may(any)]).toEqual([
      [true, true, false],
      [true, false, false],
      [true, true, true],
    ]);
    const [revoked] = await revokeKey(data, shop.id, 0);
    expect(revoked && may(revoked)).toEqual([false, false, false]);
    await expect(revokeKey(data, shop.id, 0)).rejects.toMatchObject({ code: 'NO_SUCH_KEY' });
  });

  test('a ring sees every change, and a bad or missing file keeps the last good one', async () => {
    const ring = new KeyRing(nodeDisk, data, logger);
    await ring.refresh();
    const { entry } = await create('shop');
    await ring.refresh();
    expect(ring.find(entry.fingerprint)).toEqual(entry);
    for (const bad of ['{"keys":[', '{"keys":[{"id":"x"}]}', '[]']) {
      await writeFile(join(data, 'keys.json'), bad);
      await ring.refresh();
      expect(ring.find(entry.fingerprint)).toEqual(entry);
    }
    await rm(join(data, 'keys.json'));
    await ring.refresh();
    expect(ring.find(entry.fingerprint)).toEqual(entry);
  });

  test('a file that cannot be read is as a bad one', async () => {
    const { entry } = await create('shop');
    const ring = new KeyRing(nodeDisk, data, logger);
    await ring.refresh();
    await rm(join(data, 'keys.json'));
    await mkdir(join(data, 'keys.json'));
    await ring.refresh();
    expect(ring.find(entry.fingerprint)).toEqual(entry);
    const late = new KeyRing(nodeDisk, data, logger);
    await expect(late.refresh()).rejects.toMatchObject({ code: 'BAD_KEYS_FILE' });
  });

  test('a read that failed is tried again, although the file is the same', async () => {
    let failures = 1;
    const disk: Disk = {
      ...nodeDisk,
      openRead: (path) => {
        failures -= 1;
        const failed = Object.assign(new Error('EMFILE'), { code: 'EMFILE' });
        return failures === 0 ? Promise.reject(failed) : nodeDisk.openRead(path);
      },
    };
    const { entry: first } = await create('shop');
    const ring = new KeyRing(disk, data, logger);
    await expect(ring.refresh()).rejects.toMatchObject({ code: 'BAD_KEYS_FILE' });
    await ring.refresh();
    const { entry: second } = await create('shop');
    failures = 1;
    await ring.refresh();
    expect(ring.all()).toEqual([first]);
    await ring.refresh();
    expect(ring.all()).toEqual([first, second]);
  });

  test('a bad file at the start is a fault, not a server without keys', async () => {
    await writeFile(join(data, 'keys.json'), '{"keys":[');
    const ring = new KeyRing(nodeDisk, data, logger);
    await expect(ring.refresh()).rejects.toMatchObject({ code: 'BAD_KEYS_FILE' });
    await expect(ring.refresh()).rejects.toMatchObject({ code: 'BAD_KEYS_FILE' });
    await writeFile(join(data, 'keys.json'), '{"keys":[]}');
    await ring.refresh();
  });

  test.each([
    ['shop_*', ['shop_', 'shop_eu', 'shop__'], ['shop', 'my_shop_eu', 'shopping']],
    ['*_eu', ['_eu', 'shop_eu', 'eu_eu'], ['shop_us', 'shop_eu_2', 'eu']],
    ['a*b*c', ['abc', 'aXbXc', 'abbcbc', 'abcc'], ['ab', 'acb', 'abcd', 'bc']],
    ['*ab*', ['ab', 'aab', 'aaba'], ['a', 'ba', 'aa']],
    ['**', ['a', 'shop'], []],
    ['shop', ['shop'], ['sho', 'shops', 'Shop']],
  ])('the pattern %s', (pattern, within, outside) => {
    const base = { id: 'k', name: '', fingerprint: '', createdAt: '' };
    for (const name of [...within, ...outside]) {
      const is = within.includes(name);
      expect(mayWrite({ ...base, database: pattern }, name, 'any'), name).toBe(is);
      expect(mayWrite({ ...base, database: '*', table: pattern }, 'any', name), name).toBe(is);
    }
  });

  test('a pattern and the same as a regular expression agree', () => {
    const base = { id: 'k', name: '', fingerprint: '', createdAt: '' };
    const texts = (letters: readonly string[], lengthMax: number): string[] => {
      if (lengthMax === 0) return [''];
      const shorter = texts(letters, lengthMax - 1);
      return ['', ...shorter.flatMap((rest) => letters.map((letter) => letter + rest))];
    };
    const names = new Set(texts(['a', 'b'], 5));
    for (const pattern of new Set(texts(['a', 'b', '*'], 4))) {
      const expected = new RegExp(`^${pattern.replaceAll('*', '.*')}$`);
      for (const name of names) {
        const is = mayWrite({ ...base, database: pattern }, name, 'any');
        if (is !== expected.test(name)) throw new Error(`${pattern} and ${name}: ${is}`);
      }
    }
  });

  test('a key ends at the moment that it expires', async () => {
    const expiresAt = '2026-01-01T00:00:00.000Z';
    const endMs = Date.parse(expiresAt);
    const given = { database: 'shop', expiresAt };
    const { entry } = await createKey(data, given, randomIds, 0);
    expect(stateOf(entry, endMs - 1)).toBe('in force');
    expect(stateOf(entry, endMs)).toBe('expired');
    await expect(changeKey(data, entry.id, { name: 'x' }, endMs)).rejects.toMatchObject({
      code: 'NO_SUCH_KEY',
    });
    const [revoked] = await revokeKey(data, entry.id, endMs, true);
    expect(revoked && stateOf(revoked, 0)).toBe('revoked');
  });

  test('a rotated key does what the old one does, which may end, but never later', async () => {
    const [day1, day2] = ['2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00Z'];
    const rules = {
      database: 'shop',
      table: 'orders',
      origins: ['https://a.example'],
      strict: true,
    };
    const given = { ...rules, name: 'web', expiresAt: day1 };
    const { entry } = await createKey(data, given, randomIds, 0);
    const later = await rotateKey(data, entry.id, { oldExpiresAt: day2 }, randomIds, 0);
    expect(later.old).toEqual(entry);
    expect(later.entry).toMatchObject({ ...rules, name: 'web' });
    expect(later.entry.expiresAt).toBeUndefined();
    const next = await rotateKey(data, later.entry.id, { oldExpiresAt: day2 }, randomIds, 0);
    expect(next.old.expiresAt).toBe(day2);
    const kept = await listKeys(data);
    expect(kept).toEqual([entry, next.old, next.entry]);
    const rotated = rotateKey(data, 'web', {}, randomIds, 0);
    await expect(rotated).rejects.toMatchObject({
      code: 'KEY_AMBIGUOUS',
      values: { ids: kept.map(({ id }) => id).join(', ') },
    });
  });

  test('an id goes before a name, also when its key is revoked', async () => {
    const { entry } = await createKey(data, { database: 'shop' }, randomIds, 0);
    const { entry: next } = await rotateKey(data, entry.id, {}, randomIds, 0);
    expect(next.name).toBe(entry.id);
    expect(await revokeKey(data, entry.id, 0)).toMatchObject([{ id: entry.id }]);
    const again = revokeKey(data, entry.id, 0);
    await expect(again).rejects.toMatchObject({ code: 'NO_SUCH_KEY' });
    expect(await revokeKey(data, entry.id, 0, true)).toMatchObject([{ id: next.id }]);
  });

  test('a key is taken over once; a revoked or expired one comes back', async () => {
    const take = (given: { database: string; name?: string; expiresAt?: string }, nowMs: number) =>
      importKey(data, '123/abc', given, randomIds, nowMs);
    const expiresAt = '2026-01-01T00:00:00.000Z';
    const { entry, was } = await take({ database: 'shop', name: 'old', expiresAt }, 0);
    expect(was).toBeUndefined();
    await expect(take({ database: 'any' }, 1)).rejects.toMatchObject({
      code: 'KEY_EXISTS',
      values: { id: entry.id },
    });
    const back = await take({ database: 'other' }, Date.parse(expiresAt));
    expect(back.was).toBe('expired');
    const { id, name, fingerprint, createdAt } = entry;
    expect(await listKeys(data)).toEqual([{ id, name, fingerprint, database: 'other', createdAt }]);
    await revokeKey(data, id, 0);
    const again = await take({ database: 'third', name: 'new' }, 0);
    expect(again).toMatchObject({ was: 'revoked', entry: { id, name: 'new', database: 'third' } });
    expect(again.entry.revokedAt).toBeUndefined();
  });

  test('a change sets and removes members of one key', async () => {
    const { entry } = await create('shop', 'orders');
    const { entry: other } = await create('other');
    const expiresAt = '2026-01-01T00:00:00.000Z';
    const wider = await changeKey(data, 'shop', { table: undefined, expiresAt }, 0);
    const { table: _, ...rest } = entry;
    expect(wider).toEqual({ ...rest, expiresAt });
    await changeKey(data, 'shop', { expiresAt: undefined, table: 'a*' }, 0);
    expect(await listKeys(data)).toEqual([{ ...entry, table: 'a*' }, other]);
  });

  test('a key that is given for its id is not repeated', async () => {
    const { key } = await create('shop');
    await importKey(data, 'opaque', { database: 'shop' }, randomIds, 0);
    for (const given of [key, 'opaque', '99/0123456789abcdef']) {
      for (const all of [false, true]) {
        const refused = await revokeKey(data, given, 0, all).catch((error: unknown) => error);
        expect(refused).toMatchObject({ code: 'KEY_GIVEN' });
        expect(String(refused)).not.toContain(given);
      }
    }
  });

  test('the ring counts when other keys are in force', async () => {
    const ring = new KeyRing(nodeDisk, data, logger);
    await ring.refresh();
    expect([ring.version, ring.all()]).toEqual([0, []]);
    const { entry } = await create('shop');
    await ring.refresh();
    await ring.refresh();
    expect([ring.version, ring.all()]).toEqual([1, [entry]]);
    const path = join(data, 'keys.json');
    await writeFile(path, JSON.stringify(JSON.parse(await readFile(path, 'utf8'))));
    await ring.refresh();
    await writeFile(path, '{');
    await ring.refresh();
    expect([ring.version, ring.all()]).toEqual([1, [entry]]);
    await rm(path);
    const { entry: next } = await create('next');
    await ring.refresh();
    expect([ring.version, ring.all()]).toEqual([2, [next]]);
  });
});

describe('a file that was written by hand', () => {
  const entry = {
    id: 'k_1',
    name: 'web',
    fingerprint: '0'.repeat(64),
    database: 'shop_*',
    createdAt: '2026-01-01T00:00:00Z',
  };
  const other = { ...entry, id: 'k_2', fingerprint: '1'.repeat(64) };
  const listed = async (...keys: readonly object[]) => {
    const data = await mkdtemp(join(tmpdir(), 'millrace-keys-'));
    try {
      await writeFile(join(data, 'keys.json'), JSON.stringify({ keys }));
      return await listKeys(data);
    } finally {
      await rm(data, { recursive: true });
    }
  };

  test('is good when it is right', async () => {
    const expiresAt = '2026-01-01T00:00:00Z';
    const keys = [entry, { ...other, table: '*', expiresAt }];
    expect(await listed(...keys)).toEqual(keys);
  });

  test.each([
    ['the id k_1 is there twice', { id: 'k_1' }],
    ['k_1 and k_2 have the same fingerprint 0000', { fingerprint: entry.fingerprint }],
    ['keys[1]: unknown member secret', { secret: 1 }],
    ['keys[1].database: expected 3 to 255', { database: 'Shop' }],
    ['keys[1].database: expected 3 to 255', { database: 'ab' }],
    ['keys[1].database: expected 3 to 255', { database: 'shop-*' }],
    ['keys[1].table: expected 3 to 255', { table: '' }],
    ['keys[1].table: expected 3 to 255', { table: `*${'a'.repeat(255)}` }],
    ["keys[1].fingerprint: expected the key's SHA-256", { fingerprint: '1/secret' }],
    ['keys[1].expiresAt: expected a time in UTC', { expiresAt: '2026-02-30T00:00:00Z' }],
    ['keys[1].expiresAt: expected a time in UTC', { expiresAt: '2026-01-01T00:00:00+01:00' }],
  ])('is refused: %s', async (reason, wrong) => {
    const refused = await listed(entry, { ...other, ...wrong }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'BAD_KEYS_FILE' });
    expect(String(refused)).toContain(reason);
    expect(String(refused)).not.toContain('secret"');
  });
});
