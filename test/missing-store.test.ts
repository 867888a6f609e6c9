import { cp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey, millrace, temporaryDirectory, TestServer } from './support/server.ts';

/* A data directory without its store: nobody may begin anew beside its lake and log. */

const serve = ['serve', '--port', '0', '--admin-port', '0', '--data'];

describe('a server whose store is gone', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  beforeAll(async () => {
    directory = await temporaryDirectory();
    const data = join(directory.path, 'whole');
    const key = await createKey(data, 'shop');
    const post = async (server: TestServer, n: number) => {
      const posted = await server.post('shop/orders', { n }, { 'X-TD-Write-Key': key });
      expect(posted.status).toBe(200);
      await server.flush();
    };
    await using first = await TestServer.start(data);
    await post(first, 1);
    expect(await millrace(['archive', 'shop.orders', '--data', data])).toMatchObject({ code: 0 });
    await first.stop();
    // As after a while: the first segment of the log is dropped.
    await using second = await TestServer.start(data);
    await post(second, 2);
    await second.stop();
  });
  afterAll(() => directory.remove());

  test.each([
    ['its folder', ['store'], 'files of it in lake/'],
    ['its file alone', ['store/millrace-1.duckdb'], 'files of it in lake/'],
    ['it and the lake', ['store', 'lake'], 'STORE says'],
    ['all but log and keys', ['store', 'lake', 'STORE'], 'what was before it was loaded'],
  ])('does not start, and says what helps: %s', async (name, gone, why) => {
    const data = join(directory.path, name);
    await cp(join(directory.path, 'whole'), data, { recursive: true });
    for (const path of gone) await rm(join(data, path), { recursive: true });
    const before = await filesIn(data);
    const ran = await millrace([...serve, data]);
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toContain('is not there, but there was one');
    expect(ran.stderr).toContain(why);
    expect(ran.stderr).toContain('millrace restore DIR --data NEW');
    expect(ran.stderr).not.toMatch(/^ +at /m);
    const after = await filesIn(data);
    expect(before.filter((path) => !after.includes(path))).toEqual([]);
    const again = await millrace(['query', 'SELECT 1', '--data', data]);
    expect(again).toMatchObject({ code: 1 });
    expect(again.stderr).toContain('is not there, but there was one');
  });
});

async function filesIn(data: string): Promise<readonly string[]> {
  return (await readdir(data, { recursive: true })).filter((name) => /\.(seg|parquet)$/.test(name));
}
