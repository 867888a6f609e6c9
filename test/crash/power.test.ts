import { execFile } from 'node:child_process';
import { mkdir, readFile, realpath, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual, promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verify } from '../../src/backup/index.ts';
import { patient } from '../../src/base/index.ts';
import { closedConfig, withRooms } from '../../src/cli/door.ts';
import { rowsOf } from '../../src/cli/sql.ts';
import { listKeys } from '../../src/keys/index.ts';
import { filesOf } from '../support/backups.ts';
import { buildDisk, type Cut, fates, type Liar, pick } from '../support/power-cut.ts';
import type { Sent } from '../support/power-load.ts';
import { Random } from '../support/random.ts';
import { canTrace, record, type Recording, tracing } from '../support/recording.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';

/*
 * The power goes. Every call of a real server that changes its files is recorded; from the record
 * the disk is made as it may be after a cut at any moment: what was synced, and nothing, all or
 * pieces of the rest. On each of these disks the promise is held against what SQL finds there.
 *
 * `npm run test:power` cuts before and after each sync, `npm test` at some.
 */

const isAll = process.env.POWER === 'all';
const [cutsOfSome, cutsByChance] = [40, 500];
const timeoutMs = isAll ? 7_200_000 : 400_000;
const load = fileURLToPath(new URL('../support/power-load.ts', import.meta.url));
const keptPath = fileURLToPath(new URL('../../.tmp/power', import.meta.url));

const promiseKept = { lost: [], doubled: [], changed: [], commands: [] };

type Row = { readonly id: string; readonly pad: string };

describe.skipIf(!canTrace())('when the power goes (needs strace)', () => {
  const random = new Random();
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let recording: Recording;
  let sent: readonly Sent[];
  let count = 0;
  /** Changes that disks did not have as a whole. */
  let lacking = 0;

  beforeAll(async () => {
    directory = await temporaryDirectory();
    const recorded = join(await realpath(directory.path), 'recorded');
    const [trace, ledger] = [join(directory.path, 'trace'), join(directory.path, 'ledger')];
    await mkdir(recorded);
    const args = [...tracing(trace), process.execPath, load, recorded, ledger];
    await promisify(execFile)('strace', args);
    sent = JSON.parse(await readFile(ledger, 'utf8')) as Sent[];
    recording = await record(trace, recorded);
    const answered = sent.flatMap(({ receipt }) => receipt ?? []);
    expect(answered.filter((receipt) => !recording.said.has(receipt))).toEqual([]);
    expect(answered.length).toBeLessThan(sent.length);
  }, timeoutMs);
  afterAll(() => directory.remove());

  /** The disk after a cut, while it is looked at. */
  async function onDisk<T>(cut: Cut, look: (folder: string) => Promise<T>, liar?: Liar) {
    count += 1;
    const folder = join(directory.path, `cut-${count}`);
    try {
      await makeDisk(cut, folder, liar);
      return await look(folder);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async function makeDisk(cut: Cut, folder: string, liar?: Liar) {
    lacking += await buildDisk(recording, cut, folder, liar);
    // As the supervisor does.
    await mkdir(join(folder, 'data/log'), { recursive: true });
  }

  /** So that it can be looked at, the disk of a cut that broke the promise stays there. */
  async function mustBeKept(cut: Cut, look: (folder: string) => Promise<unknown>) {
    const broken = await onDisk(cut, look).catch(String);
    if (!isDeepStrictEqual(broken, promiseKept)) {
      await rm(keptPath, { recursive: true, force: true });
      await makeDisk(cut, keptPath);
    }
    const because = `seed ${random.seed}, ${JSON.stringify(cut)}: the disk is in ${keptPath}`;
    expect(broken, because).toEqual(promiseKept);
  }

  test('the record is complete: all of it is what the files were in the end', async () => {
    const files = async (folder: string) => {
      const paths = await filesOf(folder);
      const entries = paths.map(async (path) => [relative(folder, path), await readFile(path)]);
      return Object.fromEntries(await Promise.all(entries)) as Record<string, Buffer>;
    };
    const made = await onDisk({ moment: recording.moments, fate: 'there', seed: 0 }, files);
    expect(made).toEqual(await files(join(directory.path, 'recorded')));
  });

  test('whatever was acknowledged is there once', { timeout: timeoutMs }, async () => {
    const cuts = isAll ? allCuts(recording, random) : someCuts(recording, random);
    let acknowledged = 0;
    lacking = 0;
    for (const cut of cuts) {
      await mustBeKept(cut, (folder) => brokenOn(folder, cut));
      acknowledged += saidBefore(cut).length;
    }
    expect(acknowledged).toBeGreaterThan(10 * cuts.length);
    expect(lacking).toBeGreaterThan(cuts.length);
  });

  test('the server starts, and takes and loads an event', { timeout: timeoutMs }, async () => {
    for (let turn = 0; turn < (isAll ? 40 : 2); turn += 1) {
      const cut = cutAt(pick(recording.synced, random) - 1, random);
      await mustBeKept(cut, async (folder) => {
        const data = join(folder, 'data');
        const key = await createKey(data, 'fresh');
        await using server = await TestServer.start(data);
        const { status } = await server.post('fresh/events', { n: 1 }, { 'X-TD-Write-Key': key });
        expect(status).toBe(200);
        await server.flush();
        expect(await server.query('SELECT n FROM fresh.events')).toEqual([{ n: 1 }]);
        return wrong(await rowsIn((sql) => server.query(sql)), cut);
      });
    }
  });

  const segment = /^data\/log\/\d+\/\d+\.seg$/;
  test.each<[string, Liar]>([
    ['the bytes of the log', (path) => segment.test(path)],
    ['the names in the folder of the log', (path) => /^data\/log\/\d+$/.test(path)],
  ])('a disk that lies is found out: %s', async (_, liar) => {
    // At its answer the event is nowhere else.
    const moment = Math.max(...recording.said.values()) + 1;
    const cut = { moment, fate: 'gone', seed: 0 } as const;
    const broken = await onDisk(cut, (folder) => brokenOn(folder, cut), liar).catch(String);
    expect(broken).not.toEqual(promiseKept);
  });

  function saidBefore({ moment }: Cut): readonly Sent[] {
    return sent.filter(({ receipt = '' }) => (recording.said.get(receipt) ?? moment) < moment);
  }

  /** What of the promise is broken. */
  function wrong(rows: readonly Row[], cut: Cut) {
    const bodies = new Map(sent.map(({ id, body }) => [id, (JSON.parse(body) as Row).pad]));
    const found = new Map(rows.map(({ id, pad }) => [id, pad]));
    return {
      lost: saidBefore(cut).filter(({ id }) => !found.has(id)),
      doubled: rows.length === found.size ? [] : rows.map(({ id }) => id),
      // What was not sent, too.
      changed: rows.filter(({ id, pad }) => bodies.get(id) !== pad),
      commands: [],
    };
  }

  async function brokenOn(folder: string, cut: Cut) {
    const isSaid = (what: string) => (recording.said.get(what) ?? cut.moment) < cut.moment;
    const data = join(folder, 'data');
    const commands: string[] = [];
    const keys = (await listKeys(data)).length;
    if (isSaid('first key') && keys < 1) commands.push('first key');
    if (isSaid('second key') && keys < 2) commands.push('second key');
    if (isSaid('backup')) await verify(join(folder, 'backup'), patient);
    const rows = await rowsOn(data);
    return { ...wrong(rows, cut), commands };
  }
});

/** Cuts just before a sync is done, where most is at stake; at answers; and by chance. */
function someCuts({ synced, said, moments }: Recording, random: Random): readonly Cut[] {
  return Array.from({ length: cutsOfSome }, (_, n) => {
    if (n % 4 === 0) return cutAt(random.integer(0, moments), random);
    if (n % 4 === 1) return cutAt(pick([...said.values()], random) + 1, random);
    return cutAt(pick(synced, random) - 1, random);
  });
}

function allCuts({ synced, said, moments }: Recording, random: Random): readonly Cut[] {
  const byChance = Array.from({ length: cutsByChance }, () => random.integer(0, moments));
  const others = [...synced, ...[...said.values()].map((moment) => moment + 1), ...byChance];
  const before = synced.flatMap((moment) => {
    return fates.map((fate) => ({ ...cutAt(moment - 1, random), fate }));
  });
  return [...before, ...others.map((moment) => cutAt(moment, random))];
}

function cutAt(moment: number, random: Random): Cut {
  return { moment, fate: pick(fates, random), seed: random.integer(0, 2 ** 31 - 1) };
}

function rowsOn(data: string): Promise<readonly Row[]> {
  return withRooms(closedConfig(data), ({ queries }) =>
    rowsIn(async (sql) => {
      const query = await queries.run({ sql, format: 'json' }, {});
      return rowsOf({ pieces: query.pieces(), watermark: [], completeTo: '' });
    }),
  );
}

async function rowsIn(ask: (sql: string) => Promise<readonly unknown[]>): Promise<readonly Row[]> {
  type Table = { readonly table: string };
  const tables = await ask(`SELECT "table" FROM millrace.tables WHERE "database" = 'demo'`);
  const rows = (tables as Table[]).map(({ table }) => `SELECT id, pad FROM demo.${table}`);
  const parked = "SELECT body->>'id' AS id, body->>'pad' AS pad FROM millrace.quarantine";
  return (await ask([parked, ...rows].join(' UNION ALL '))) as Row[];
}
