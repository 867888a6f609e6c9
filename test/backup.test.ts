import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { backup, restore, verify } from '../src/backup/index.ts';
import { DirectoryLock, limits, patient } from '../src/base/index.ts';
import type { Store } from '../src/store/index.ts';
import { filesOf, mustBeTidy } from './support/backups.ts';
import type { StoredTable } from '../src/store/views.ts';
import { Line, openLog, receivedAtMs, twin } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

/* What a backup holds, and what it takes to lose it. */

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let data: string;
let kept: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
  data = join(directory.path, 'data');
  kept = join(directory.path, 'kept');
  await mkdir(data);
});
afterEach(() => directory.remove());

const receivedAt = receivedAtMs / 1000;
const orders = 'SELECT * FROM shop.orders ORDER BY _receipt';

/** Uses the rooms over a data directory. */
async function withLine<T>(at: string, use: (line: Line) => Promise<T>): Promise<T> {
  const line = await Line.open(at);
  try {
    return await use(line);
  } finally {
    await line.close();
  }
}

function back(line: Line, options: { verify?: boolean; to?: string; store?: Store } = {}) {
  const { store = line.store, to = kept, verify: mustVerify = false } = options;
  const { loader, log } = line;
  const hear = () => Promise.resolve(loader.durable(0, log.mark));
  const source = { dataDirectory: line.data, store, loader, hear };
  return backup(source, { directory: to, verify: mustVerify }, patient);
}

async function append(line: Line, bodies: readonly object[], table = 'orders'): Promise<void> {
  for (const body of bodies) await line.append(JSON.stringify(body), { table });
  await line.flush();
}

const archive = (line: Line) =>
  line.loader.archivist.archive({ database: 'shop', table: 'orders' });

const compact = (line: Line) => {
  const { files } = line.store.schema('shop', 'orders') as StoredTable;
  return line.loader.archivist.alone((between) => {
    return line.store.lake.compact('shop', 'orders', files, between);
  });
};

/** Some rows in files, some on their way there, some hot. */
async function fill(line: Line): Promise<void> {
  for (let n = 0; n < 3; n += 1) {
    await append(line, [{ n, td_record_time: receivedAt - n }]);
    await archive(line);
  }
  await append(line, [{ n: 3 }, { n: 4, other: 'x'.repeat(10_000) }]);
  await append(line, [{ v: 1 }], 'visits');
}

/** Restores the backup, loads what its log holds, and asks. */
async function restored(sql: string, from = kept): Promise<readonly (readonly unknown[])[]> {
  const at = await mkdtemp(join(directory.path, 'restored-'));
  await restore(from, at, patient);
  return withLine(at, async (line) => {
    await line.flush();
    expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
    expect(line.store.lake.missing).toEqual([]);
    return line.rows(sql);
  });
}

describe('a backup', () => {
  test('is every row and event in quarantine, whatever they lie in', async () => {
    const [before, parked] = await withLine(data, async (line) => {
      await fill(line);
      await line.append('{"p":1}', { key: '1/nobody' });
      await line.flush();
      const report = await back(line);
      expect(report).toMatchObject({
        directory: kept,
        tables: [
          { database: 'shop', table: 'orders', rows: 5 },
          { database: 'shop', table: 'visits', rows: 1 },
        ],
        quarantined: 1,
      });
      expect(report.newFiles).toBe(report.files);
      const sql = 'SELECT receipt, body FROM millrace.quarantine';
      return [await line.rows(orders), await line.rows(sql)];
    });
    expect(await restored(orders)).toEqual(before);
    expect(await restored('SELECT receipt, body FROM millrace.quarantine')).toEqual(parked);
    await mustBeTidy(kept);
  });

  test('is the moment at which it began, whatever is written while it is copied', async () => {
    const before = await withLine(data, async (line) => {
      await fill(line);
      const rows = await line.rows(orders);
      const filler = Buffer.from(Array.from({ length: 400_000 }, (_, at) => (at * at) % 251));
      let log = line.log;
      const load = async (body: object) => {
        await line.submit([{ bodies: [JSON.stringify(body)] }], {}, log);
        await line.loader.flush(new Map([[0, log.mark]]));
      };
      const change = async () => {
        // From here on the segment that the backup needs could go.
        log = await openLog(data, 0);
        // Beyond what makes a checkpoint due, were it not for the backup.
        for (let n = 0; n < 40; n += 1) {
          await load({ n: 100 + n, filler: `${n}${filler.toString('base64')}` });
        }
        await compact(line);
        await line.loader.retype('shop', 'orders', 'n', 'VARCHAR');
        await line.loader.dropTable('shop', 'visits', new Map());
        const wal = await stat(join(data, 'store/millrace-1.duckdb.wal'));
        expect(wal.size).toBeGreaterThan(limits.storeWalBytesMax);
      };
      let changed: Promise<void> | undefined;
      const still = async () => {
        const held = await line.store.still();
        expect(held.lasts).toBe(true);
        const files = held.files.map(({ file, ...facts }) => {
          const read = async (into: Uint8Array, at: number) => {
            changed ??= change();
            await changed;
            return file.read(into, at);
          };
          const close = () => file.close();
          return { ...facts, file: { size: () => file.size(), read, close } };
        });
        return { ...held, files };
      };
      await back(line, { store: twin(line.store, { still }) });
      expect(changed).toBeDefined();
      await load({ n: 200 });
      await log.close();
      const segments = async () =>
        (await readdir(join(data, 'log/0'))).filter((name) => name.endsWith('.seg'));
      await expect.poll(segments).toHaveLength(1);
      await expect(stat(join(data, 'store/millrace-1.duckdb.wal'))).rejects.toThrow('ENOENT');
      return rows;
    });
    expect(await restored(orders)).toEqual(before);
    expect(await restored('SELECT v FROM shop.visits')).toEqual([[1]]);
  });

  test('is whole when a query holds up the checkpoint', async () => {
    const before = await withLine(data, async (line) => {
      const filler = 'x'.repeat(30_000);
      const many = Array.from({ length: 100 }, (_, n) => `{"n":${n},"filler":"${filler}"}`);
      for (let count = 0; count < 8; count += 1) await line.submit([{ bodies: many }]);
      await line.flush();
      const reader = await line.store.reader();
      const { rows } = await reader.select('SELECT a.n FROM shop.orders a, shop.orders b');
      await rows[Symbol.asyncIterator]().next();
      await line.loader.retype('shop', 'orders', 'n', 'VARCHAR');
      let lasts = true;
      const still = async () => {
        const held = await line.store.still();
        lasts = held.lasts;
        return held;
      };
      await back(line, { store: twin(line.store, { still }) });
      expect(lasts).toBe(false);
      reader.interrupt();
      reader.close();
      return line.rows(orders);
    });
    expect(before).toHaveLength(800);
    expect(await restored(orders)).toEqual(before);
  });

  test('leaves the store locked', async () => {
    await withLine(data, async (line) => {
      await fill(line);
      await back(line);
      const script = `import { DuckDBInstance } from '@duckdb/node-api';
        await DuckDBInstance.create(${JSON.stringify(join(data, 'store/millrace-1.duckdb'))});`;
      const other = spawnSync(process.execPath, ['--input-type=module', '-e', script]);
      expect(other.stderr.toString()).toContain('Could not set lock on file');
    });
  });

  test('again takes only what is new, and lets go what is gone', async () => {
    await withLine(data, async (line) => {
      await fill(line);
      await mkdir(join(data, 'raw/0'), { recursive: true });
      await writeFile(join(data, 'raw/0/1.zst'), 'first');
      await writeFile(join(data, 'raw/0/2.zst'), 'second');
      const first = await back(line);
      await append(line, [{ n: 5 }]);
      await archive(line);
      await rm(join(data, 'raw/0/1.zst'));
      // A name that comes again, as in a directory that was restored.
      await rm(join(data, 'raw/0/2.zst'));
      await writeFile(join(data, 'raw/0/2.zst'), 'Second');
      const second = await back(line);
      await mustBeTidy(kept);
      // Besides the file of the lake and the raw one: store, keys, the segment that is written.
      expect(second).toMatchObject({ newFiles: 5, files: first.files });
      await compact(line);
      await back(line);
      await mustBeTidy(kept);
      expect((await readdir(join(kept, 'lake/shop/orders'))).length).toBe(1);
      expect((await verify(kept, patient)).files).toBe(first.files - 3);
    });
    expect((await restored('SELECT n FROM shop.orders ORDER BY n')).flat()).toEqual([
      0, 1, 2, 3, 4, 5,
    ]);
  });

  test('links what never changes, and copies the rest', async () => {
    const inodes = async (at: string) => {
      const files = (await filesOf(at)).filter((name) => name.endsWith('.parquet'));
      return Promise.all(files.map(async (name) => (await stat(name)).ino));
    };
    await withLine(data, async (line) => {
      await fill(line);
      await back(line);
      expect(await inodes(kept)).toEqual(await inodes(join(data, 'lake')));
      const active = (await filesOf(kept)).filter((name) => name.endsWith('.seg'));
      for (const name of active) expect((await stat(name)).nlink).toBe(1);
      for (const name of await filesOf(kept)) {
        if ((await stat(name)).nlink === 1) expect((await stat(name)).mode & 0o777).toBe(0o600);
      }
      expect((await stat(kept)).mode & 0o777).toBe(0o700);
    });
  });

  test.skipIf(!existsSync('/dev/shm'))('goes to another disk too (/dev/shm)', async () => {
    const far = await mkdtemp('/dev/shm/millrace-test-');
    try {
      const before = await withLine(data, async (line) => {
        await fill(line);
        await back(line, { to: far });
        await back(line, { to: far });
        return line.rows(orders);
      });
      await mustBeTidy(far);
      for (const name of await filesOf(far)) expect((await stat(name)).nlink).toBe(1);
      expect(await restored(orders, far)).toEqual(before);
    } finally {
      await rm(far, { recursive: true });
    }
  });

  test('that fails leaves the former one as it was', async () => {
    await withLine(data, async (line) => {
      await fill(line);
      await back(line);
      const before = await filesOf(kept);
      await append(line, [{ n: 9 }]);
      await archive(line);
      const files = await filesOf(join(data, 'lake'));
      const lost = files.find((name) => !before.includes(name.replace(data, kept))) ?? '';
      const content = await readFile(lost);
      await rm(lost);
      const name = lost.slice(data.length + 1);
      await expect(back(line)).rejects.toMatchObject({
        code: 'BACKUP_FAILED',
        message: `the backup was not made: the data lack ${name}`,
      });
      await writeFile(lost, content.subarray(1));
      await expect(back(line)).rejects.toMatchObject({ code: 'BACKUP_FAILED' });
      expect(await filesOf(kept)).toEqual(before);
      await verify(kept, patient);
      await writeFile(lost, content);
      await back(line);
    });
    expect(await restored('SELECT count(*) FROM shop.orders')).toEqual([[6]]);
  });

  test('ends when nobody waits any more', async () => {
    await withLine(data, async (line) => {
      await fill(line);
      const { loader, store, log } = line;
      const hear = () => Promise.resolve(loader.durable(0, log.mark));
      const stop = new AbortController();
      const task = { progress: () => stop.abort(), signal: stop.signal };
      const source = { dataDirectory: data, store, loader, hear };
      const made = backup(source, { directory: kept, verify: false }, task);
      await expect(made).rejects.toThrow('aborted');
      expect(await filesOf(kept)).toEqual([]);
      await expect(verify(kept, patient)).rejects.toMatchObject({ code: 'NO_BACKUP' });
      await back(line);
    });
  });

  test('is made where nothing else is, one at a time', async () => {
    await withLine(data, async (line) => {
      await append(line, [{ n: 1 }]);
      const refused = async (to: string, code: string) => {
        await expect(back(line, { to }), to).rejects.toMatchObject({ code });
      };
      await refused(data, 'BACKUP_PLACE');
      await refused(join(data, 'lake/backup'), 'BACKUP_PLACE');
      await refused(directory.path, 'BACKUP_PLACE');
      await symlink(data, join(directory.path, 'link'));
      await refused(join(directory.path, 'link/new/one'), 'BACKUP_PLACE');
      await mkdir(join(directory.path, 'mine/lake'), { recursive: true });
      await writeFile(join(directory.path, 'mine/lake/mine.parquet'), 'x');
      await refused(join(directory.path, 'mine'), 'BACKUP_PLACE');
      await writeFile(join(directory.path, 'mine/manifest.json'), '{"name":"mine"}');
      await refused(join(directory.path, 'mine'), 'BACKUP_DAMAGED');
      expect(await readFile(join(directory.path, 'mine/lake/mine.parquet'), 'utf8')).toBe('x');
      await mkdir(kept);
      const lock = await DirectoryLock.take(join(kept, 'backup.lock'), () => 'the test');
      await refused(kept, 'BACKUP_BUSY');
      lock.release();
      const [one, other] = await Promise.allSettled([
        back(line),
        back(line, { to: join(directory.path, 'other') }),
      ]);
      expect(one.status).toBe('fulfilled');
      expect(other).toMatchObject({ reason: { code: 'BACKUP_BUSY' } });
    });
  });
});

describe('damage', () => {
  test('in any file is found and named, and nothing is restored', async () => {
    await withLine(data, async (line) => {
      await fill(line);
      await back(line);
    });
    await rm(data, { recursive: true });
    const target = join(directory.path, 'target');
    const files = await filesOf(kept);
    expect(files.length).toBeGreaterThan(6);
    for (const file of files) {
      const content = await readFile(file);
      const name = file.slice(kept.length + 1);
      const places = name === 'manifest.json' ? content.keys() : [0, content.length - 1];
      for (const at of places) {
        const damaged = Buffer.from(content);
        damaged[at] = (damaged[at] ?? 0) ^ 1;
        await writeFile(file, damaged);
        const found = verify(kept, patient);
        await expect(found, `${name} at ${at}`).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
        await expect(found).rejects.toThrow(name);
      }
      await expect(restore(kept, target, patient)).rejects.toThrow(name);
      await truncate(file, content.length - 1);
      await expect(verify(kept, patient)).rejects.toThrow(name);
      await rm(file);
      const code = name === 'manifest.json' ? 'NO_BACKUP' : 'BACKUP_DAMAGED';
      await expect(restore(kept, target, patient)).rejects.toMatchObject({ code });
      await writeFile(file, content);
    }
    expect((await readdir(directory.path)).sort()).toEqual(['kept']);
    await verify(kept, patient);
  });

  test('in what is kept is mended from the data, if it is whole there', async () => {
    await withLine(data, async (line) => {
      await fill(line);
      await back(line);
      const files = (await filesOf(kept)).filter((name) => name.endsWith('.parquet'));
      const [linked = '', copied = ''] = files;
      const content = await readFile(copied);
      content[5000 % content.length] = 0;
      await rm(copied);
      await writeFile(copied, content);
      await back(line);
      await expect(verify(kept, patient)).rejects.toThrow(copied.slice(kept.length + 1));
      await back(line, { verify: true });
      await verify(kept, patient);
      await mustBeTidy(kept);
      // The same file as in the data: there is no other.
      const whole = await readFile(linked);
      const broken = Buffer.from(whole);
      broken[broken.length >> 1] = (broken[broken.length >> 1] ?? 0) ^ 1;
      await writeFile(linked, broken);
      await expect(back(line, { verify: true })).rejects.toThrow('is not what was written: bytes');
      await writeFile(linked, whole);
      await back(line, { verify: true });
    });
  });
});

describe('restore', () => {
  test('makes a new data directory and nothing else', async () => {
    await withLine(data, async (line) => {
      await fill(line);
      await back(line);
    });
    const refused = async (to: string) => {
      const made = restore(kept, to, patient);
      await expect(made, to).rejects.toMatchObject({ code: 'RESTORE_PLACE' });
    };
    await refused(data);
    await refused(join(kept, 'new'));
    await refused(directory.path);
    await refused(join(kept, 'manifest.json'));
    const file = join(directory.path, 'file');
    await writeFile(file, '');
    await refused(file);
    const made = join(directory.path, 'a/b');
    await restore(kept, made, patient);
    expect(await readdir(join(directory.path, 'a'))).toEqual(['b']);
    expect((await readdir(made)).sort()).toEqual(['keys.json', 'lake', 'log', 'store']);
    for (const name of await filesOf(made)) {
      expect(await stat(name)).toMatchObject({ nlink: 1 });
      expect((await stat(name)).mode & 0o777).toBe(0o600);
    }
    await refused(made);
  });
});
