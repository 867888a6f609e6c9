import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { Duck } from './duckdb.ts';

test('rows of an append that failed are not written later', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const directory = await mkdtemp(join(tmpdir(), 'millrace-duckdb-'));
  const path = join(directory, 'x.duckdb');
  const duck = await Duck.open(path, join(directory, 'mm.duckdb'), 2_048, {});
  const writer = await duck.connect();
  await writer.run('CREATE TABLE x.t (n BIGINT)');
  const rows = [[1n], [2n, 3n]];
  await expect(writer.transact(() => writer.append('main', 't', rows, 'x'))).rejects.toThrow();
  for (let time = 0; time < 5; time += 1) {
    collectGarbage();
    await new Promise(setImmediate);
  }
  expect(await writer.all('FROM x.t')).toEqual([]);
  writer.close();
  duck.close();
  await rm(directory, { recursive: true });
});
