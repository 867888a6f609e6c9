import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey, millrace, query, temporaryDirectory, TestServer } from './support/server.ts';

/* A table as files: all of it or none, and whoever is stopped goes on. */

const program = fileURLToPath(new URL('../bin/millrace.js', import.meta.url));
const days = 4;
const dayRows = 5000;

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let key: string;
let today: number;

beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start(join(directory.path, 'data'));
  key = await createKey(server.data, 'shop');
  today = Math.floor(Date.now() / 86_400_000) * 86_400;
  for (let day = 0; day < days; day += 1) {
    await post(
      'shop/orders',
      Array.from({ length: dayRows }, (_, n) => orderOf(day, n)),
    );
  }
  await server.flush();
});
afterAll(async () => {
  await server.stop();
  await directory.remove();
});

/** An order of some days ago; they come in no order. */
function orderOf(day: number, n: number) {
  const seconds = (n * 7919) % 86_400;
  return { td_record_time: today - day * 86_400 + seconds, n, note: `a "b", ${n}\n`, day };
}

async function post(path: string, events: readonly object[]): Promise<void> {
  const response = await server.post(path, JSON.stringify(events), { 'X-TD-Write-Key': key });
  expect(response.status).toBe(200);
}

const folder = (name: string) => join(directory.path, 'exports', name);
const run = (to: string, ...args: readonly string[]) => {
  return millrace(['export', 'shop.orders', '--data', server.data, '--to', folder(to), ...args]);
};
const manifestOf = async (to: string) => {
  const text = await readFile(join(folder(to), 'shop.orders', 'manifest.json'), 'utf8');
  return JSON.parse(text) as {
    readonly rows: number;
    readonly files: readonly { readonly name: string; readonly rows: number }[];
  };
};
const dateOf = (day: number) => {
  return new Date((today - day * 86_400) * 1000).toISOString().slice(0, 10);
};

/** What another tool reads in the files. */
async function readBack(to: string, format: string) {
  const connection = await (await DuckDBInstance.create(':memory:')).connect();
  const files = join(folder(to), 'shop.orders', `date=*.${format}`);
  const reader = format === 'ndjson' ? `read_ndjson('${files}')` : `'${files}'`;
  const result = await connection.runAndReadAll(`
    SELECT count(*)::INTEGER AS rows, count(DISTINCT _receipt || n)::INTEGER AS different,
      sum(n)::BIGINT::VARCHAR AS sum, count(*) FILTER (note = 'a "b", ' || n || chr(10))::INTEGER
      AS right FROM ${reader}`);
  connection.closeSync();
  return result.getRowObjects()[0];
}

const whole = {
  rows: days * dayRows,
  different: days * dayRows,
  sum: String((days * dayRows * (dayRows - 1)) / 2),
  right: days * dayRows,
};

describe('export', () => {
  test.each(['parquet', 'csv', 'ndjson'])(
    '%s: a file for each day, and a manifest',
    async (format) => {
      const ran = await run(format, '--format', format);
      expect(ran).toMatchObject({ code: 0, stderr: '' });
      expect(ran.stdout).toMatch(
        /^exported 20000 rows of shop\.orders in 4 files to .*\(complete to 20.*Z\)\n$/,
      );
      const dates = Array.from({ length: days }, (_, day) => `date=${dateOf(day)}.${format}`);
      const names = await readdir(join(folder(format), 'shop.orders'));
      expect(names.sort()).toEqual([...dates, 'manifest.json'].sort());
      const manifest = await manifestOf(format);
      expect(manifest.rows).toBe(days * dayRows);
      expect(manifest.files.map(({ name }) => name)).toEqual(dates.toReversed());
      expect(await readBack(format, format)).toEqual(whole);
    },
  );

  test('rows of a file are in the order of their time', async () => {
    const text = await readFile(join(folder('ndjson'), 'shop.orders', `date=${dateOf(1)}.ndjson`));
    const times = text
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => {
        return (JSON.parse(line) as { time: number }).time;
      });
    expect(times).toEqual(times.toSorted((one, other) => one - other));
  });

  test('part of a table, with progress as lines of JSON', async () => {
    const args = ['--since', dateOf(1), '--until', dateOf(0), '--json'];
    const { code, stdout } = await run('part', ...args);
    expect(code).toBe(0);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(lines[0]).toEqual({ progress: { done: 0, total: dayRows, unit: 'rows' } });
    expect(lines.at(-1)).toMatchObject({ result: { rows: dayRows, table: 'shop.orders' } });
  });

  test('a folder that is not empty is left alone', async () => {
    const before = await readdir(join(folder('csv'), 'shop.orders'));
    const ran = await run('csv', '--format', 'csv');
    expect(ran.code).toBe(1);
    expect(ran.stderr).toContain('is not empty');
    expect(await readdir(join(folder('csv'), 'shop.orders'))).toEqual(before);
  });

  test('stopped at any moment, it goes on; rows that came later are not in it', async () => {
    const path = join(folder('stopped'), 'shop.orders');
    const args = ['export', 'shop.orders', '--data', server.data, '--to', folder('stopped')];
    const child = spawn(process.execPath, [program, ...args]);
    const unfinished = async () => {
      const text = await readFile(join(path, 'unfinished.json'), 'utf8').catch(() => '{}');
      return (JSON.parse(text) as { files?: readonly { name: string }[] }).files ?? [];
    };
    // Often, so that it is stopped before the last file.
    while ((await unfinished()).length === 0) await sleep(1);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(existsSync(join(path, 'manifest.json'))).toBe(false);
    await writeFile(join(path, `date=${dateOf(0)}.parquet.tmp`), 'half a file');
    await writeFile(join(path, 'notes.txt'), 'of a person');
    const [done] = await unfinished();
    const before = await stat(join(path, done?.name ?? ''));
    await post('shop/orders', [orderOf(0, 99_999)]);
    await server.flush();

    const other = await run('stopped', '--format', 'csv');
    expect(other.stderr).toContain('unfinished export of something else');
    expect(await run('stopped')).toMatchObject({ code: 0, stderr: '' });
    const names = await readdir(path);
    expect(names.length).toBe(days + 2);
    expect(names).toEqual(expect.arrayContaining(['manifest.json', 'notes.txt']));
    expect((await stat(join(path, done?.name ?? ''))).mtimeMs).toBe(before.mtimeMs);
    expect(await readBack('stopped', 'parquet')).toEqual(whole);
    expect(await query(server.data, 'SELECT count(*) AS n FROM shop.orders')).toEqual([
      { n: days * dayRows + 1 },
    ]);
  });

  test.each([
    [['shop.nothing', '--to', '.'], 'there is no table shop.nothing'],
    [['shop.orders'], 'where to?'],
    [['orders', '--to', '.'], 'is no table'],
    [['shop.orders', '--to', '.', '--format', 'table'], 'is no file'],
    [['shop.orders', '--to', '.', '--since', 'monday'], 'is no time'],
  ])('export %j says what is wrong', async (args, text) => {
    await using empty = await temporaryDirectory();
    const at = args.map((one) => (one === '.' ? empty.path : one));
    const ran = await millrace(['export', '--data', server.data, ...at]);
    expect(ran.code).toBe(1);
    expect(ran.stderr).toContain(text);
  });

  test('works on a closed data directory', async () => {
    await server.stop();
    const ran = await run('closed');
    expect(ran.stdout).toContain('exported 20001 rows');
    expect(ran.stdout).toContain('(complete to everything)');
    expect((await manifestOf('closed')).rows).toBe(days * dayRows + 1);
    expect(await readBack('closed', 'parquet')).toMatchObject({ rows: days * dayRows + 1 });
  });
});
