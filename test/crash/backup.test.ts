import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { restore, verify } from '../../src/backup/index.ts';
import { patient } from '../../src/base/index.ts';
import { eventually } from '../support/eventually.ts';
import { Line } from '../support/line.ts';
import { temporaryDirectory, type TestServer } from '../support/server.ts';
import { isWhole, killAtSteps, type StepRun } from '../support/steps.ts';

/*
 * The store is killed at steps of a backup: the folder holds the former backup or the new one,
 * whole, and the next backup leaves nothing behind. With `STEPS=all` at every step.
 */

const timeoutMs = isWhole ? 3_600_000 : 300_000;
const stepsMin = 25;
const killsMin = 2;

type Made = { readonly id: string; readonly files: number };

test(
  'a backup is the former or the new one, whichever step the store is killed at',
  async () => {
    await using template = await temporaryDirectory();
    const key = await withFiles(template.path);
    const scenario = async (run: StepRun) => {
      const kept = join(dirname(run.data), 'kept');
      const server = await run.start();
      const former = await made(server, kept);
      const headers = { 'X-TD-Write-Key': key };
      expect((await server.post('shop/orders', { n: 3 }, headers)).status).toBe(200);
      await rm(join(run.data, 'raw/0/1'));
      await writeFile(join(run.data, 'raw/0/2'), 'second');
      await run.arm();
      const first = await asked(server, kept).catch(() => undefined);
      const { id } = first ?? (await verify(kept, patient));
      const isNew = id !== former.id;
      expect(await rowsOf(kept)).toEqual(isNew ? [0, 1, 2, 3] : [0, 1, 2]);
      // What a call that failed has left of the former one goes with the next backup.
      const last = first && run.isMortal ? first : await made(server, kept);
      await run.disarm();
      expect(await rowsOf(kept)).toEqual([0, 1, 2, 3]);
      await mustBeTidy(kept, last);
      const rows = await eventually('rows', () => server.query('SELECT n FROM shop.orders'));
      expect(rows).toHaveLength(4);
    };
    const { kills, steps } = await killAtSteps({
      name: 'backup',
      template: template.path,
      scenario,
    });
    expect(steps).toBeGreaterThanOrEqual(stepsMin);
    expect(kills).toBeGreaterThanOrEqual(killsMin);
  },
  timeoutMs,
);

/** Rows in a file, hot rows, and a file beside them. @returns a key */
async function withFiles(data: string): Promise<string> {
  const line = await Line.open(data);
  for (let n = 0; n < 3; n += 1) {
    await line.append(JSON.stringify({ n }));
    await line.flush();
    if (n < 2) await line.loader.archivist.archive({ database: 'shop', table: 'orders' });
  }
  await line.close();
  await mkdir(join(data, 'raw/0'), { recursive: true });
  await writeFile(join(data, 'raw/0/1'), 'first');
  return line.key;
}

/** Asks for a backup once. */
async function asked(server: TestServer, directory: string): Promise<Made> {
  const response = await fetch(`${server.admin}/backup`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ directory }),
  });
  expect(response.status).toBe(200);
  return (await response.json()) as Made;
}

/** Asks until it is there. */
function made(server: TestServer, directory: string): Promise<Made> {
  return eventually('a backup', () => asked(server, directory));
}

/** What the backup would be as a data directory, by the books too. */
async function rowsOf(kept: string): Promise<readonly unknown[]> {
  const at = await mkdtemp(join(dirname(kept), 'restored-'));
  await restore(kept, at, patient);
  const line = await Line.open(at);
  await line.flush();
  const rows = await line.rows('SELECT n FROM shop.orders ORDER BY n');
  expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
  expect(line.store.lake.missing).toEqual([]);
  await line.close();
  return rows.flat();
}

async function mustBeTidy(kept: string, { id, files }: Made): Promise<void> {
  const found = await readdir(kept, { recursive: true, withFileTypes: true });
  const ours = found.filter((entry) => entry.isFile() && entry.name !== 'backup.lock');
  expect(ours).toHaveLength(files + 1);
  expect(JSON.parse(await readFile(join(kept, 'manifest.json'), 'utf8'))).toMatchObject({ id });
}
