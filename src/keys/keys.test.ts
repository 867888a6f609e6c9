import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLogger, randomIds } from '../base/index.ts';
import { fingerprintOf } from '../event/index.ts';
import { createKey, KeyRing, listKeys, mayWrite, revokeKey } from './index.ts';

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
    const ring = new KeyRing(data, logger);
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
    const ring = new KeyRing(data, logger);
    await ring.refresh();
    await rm(join(data, 'keys.json'));
    await mkdir(join(data, 'keys.json'));
    await ring.refresh();
    expect(ring.find(entry.fingerprint)).toEqual(entry);
    const late = new KeyRing(data, logger);
    await expect(late.refresh()).rejects.toMatchObject({ code: 'BAD_KEYS_FILE' });
  });

  test('a bad file at the start is a fault, not a server without keys', async () => {
    await writeFile(join(data, 'keys.json'), '{"keys":[');
    const ring = new KeyRing(data, logger);
    await expect(ring.refresh()).rejects.toMatchObject({ code: 'BAD_KEYS_FILE' });
    await expect(ring.refresh()).rejects.toMatchObject({ code: 'BAD_KEYS_FILE' });
    await writeFile(join(data, 'keys.json'), '{"keys":[]}');
    await ring.refresh();
  });
});
