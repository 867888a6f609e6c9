import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeFileAtomic } from '../../src/base/index.ts';
import { createKey, millrace, temporaryDirectory, TestServer } from '../support/server.ts';

/* What is written is its user's alone, whatever the umask is. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
const umask = process.umask(0);

beforeAll(async () => {
  directory = await temporaryDirectory();
});

afterAll(async () => {
  process.umask(umask);
  await directory.remove();
});

/** Files and folders below one that others may read, write or enter. */
async function openToOthers(folder: string): Promise<readonly string[]> {
  const names = ['', ...(await readdir(folder, { recursive: true }))];
  const open: string[] = [];
  for (const name of names) {
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found && (found.mode & 0o077) !== 0) open.push(name);
  }
  expect(names.length).toBeGreaterThan(1);
  return open;
}

test('the data, a backup and an export', async () => {
  const at = (name: string) => join(directory.path, name);
  const data = at('data');
  const key = await createKey(data, 'shop');
  const settings = ['--tls-self-signed', '--tls-port', '0', '--raw-days', '1'];
  const server = await TestServer.start(data, settings);
  try {
    await server.post('shop/orders', '{"a":1}', { 'X-TD-Write-Key': key });
    await server.post('shop/orders', '{"a":2}', { 'X-TD-Write-Key': '1/none' });
    for (const command of [
      ['archive'],
      ['backup', at('backup')],
      ['export', 'shop.orders', '--to', at('export')],
    ]) {
      const { code, stderr } = await millrace([...command, '--data', data]);
      expect(code, stderr).toBe(0);
    }
    for (const name of ['data', 'backup', 'export']) {
      expect(await openToOthers(at(name)), name).toEqual([]);
    }
  } finally {
    await server.kill();
  }
  const { code, stderr } = await millrace(['restore', at('backup'), '--data', at('restored')]);
  expect(code, stderr).toBe(0);
  expect(await openToOthers(at('restored'))).toEqual([]);
});

test('a data directory that others may write to is named', async () => {
  const data = join(directory.path, 'shared');
  await mkdir(data, { mode: 0o777 });
  await using server = await TestServer.start(data);
  expect(server.stderr()).toContain(`"hint":"chmod 700 ${data}"`);
});

test('a link that somebody put in the way is not followed', async () => {
  const [path, other] = ['file.json', 'other'].map((name) => join(directory.path, name));
  await writeFile(other ?? '', 'mine');
  await symlink(other ?? '', `${path}.${process.pid}.tmp`);
  await writeFileAtomic(path ?? '', 'new');
  expect(await readFile(other ?? '', 'utf8')).toBe('mine');
  expect(await readFile(path ?? '', 'utf8')).toBe('new');
});
