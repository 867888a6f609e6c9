import { execFileSync } from 'node:child_process';
import { open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { audit, Ledger, promiseKept, Senders } from '../support/senders.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';

const mib = 1024 * 1024;
/** What server and senders have while no ballast lies on the disk. */
const roomBytes = 96 * mib;
const tables = ['small/events'] as const;

test.skipIf(!canMount()).each([
  { reserveBytes: 128 * mib, what: 'its reserve is touched' },
  { reserveBytes: 0, what: 'writes fail' },
])(
  'when the disk fills until $what, refused is refused and it recovers (needs root and mount)',
  async ({ reserveBytes }) => {
    await using disk = await smallDisk(reserveBytes + roomBytes);
    const data = join(disk.path, 'data');
    const key = await createKey(data, 'small');
    const ledger = new Ledger();
    const start = () => TestServer.start(data, ['--disk-reserve', String(reserveBytes)]);
    const send = ({ ingest }: TestServer) =>
      new Senders({ ingest, key, tables, ledger, connections: 32, padBytes: () => 3_000 });

    // Full, then room again: the same server goes on.
    await using first = await start();
    await using senders = send(first);
    await eventually('events are taken', () => Promise.resolve(ledger.acknowledged.size > 500));
    await using ballast = new Ballast(disk.path, reserveBytes / 2);
    await untilRefused(ledger);
    await checkRefusal(first, key, ledger);
    // Without a reserve the store may end in the middle of a write, and has no room to start.
    const refusals = reserveBytes > 0 ? [503] : [503, undefined];
    await eventually('not ready', async () => refusals.includes(await readiness(first)));
    if (reserveBytes > 0) expect((await fetch(`${first.admin}/healthz`)).status).toBe(200);
    await senders.stop();
    await ballast.remove();
    await eventually('ready', async () => (await readiness(first)) === 200);
    expect(await postOne(first, key, ledger)).toBe(200);

    // Full again, and killed in that state.
    await using moreSenders = send(first);
    await using moreBallast = new Ballast(disk.path, reserveBytes / 2);
    await untilRefused(ledger);
    await first.kill();
    await moreSenders.stop();
    // Without a reserve there is no room to start either.
    if (reserveBytes === 0) await moreBallast.remove();
    await using second = await start();
    if (reserveBytes > 0) {
      expect(await postOne(second, key, ledger)).toBe(503);
      await moreBallast.remove();
    }
    await eventually('ready again', async () => (await readiness(second)) === 200);
    expect(await postOne(second, key, ledger)).toBe(200);
    await second.flush();

    expect(new Set(ledger.refused.values())).toEqual(new Set([503]));
    expect(await audit(data, tables, ledger)).toEqual(promiseKept);
  },
);

/** The documented refusal, as a sender sees it. */
async function checkRefusal(server: TestServer, key: string, ledger: Ledger): Promise<void> {
  const refusal = await eventually('a refusal', async () => {
    const response = await post(server, key, ledger);
    return response.status === 503 && response;
  });
  expect(refusal.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
  expect(refusal.headers.get('content-type')).toBe('application/json');
  expect(await refusal.json()).toEqual({ error: expect.stringContaining('no room') });
}

async function postOne(server: TestServer, key: string, ledger: Ledger): Promise<number> {
  return (await post(server, key, ledger)).status;
}

async function post(server: TestServer, key: string, ledger: Ledger): Promise<Response> {
  const { id, body } = ledger.next(3_000);
  const response = await server.post(tables[0], body, { 'X-TD-Write-Key': key });
  ledger.note(id, response.status);
  return response;
}

async function untilRefused({ refused }: Ledger): Promise<void> {
  const before = refused.size;
  await eventually('events are refused', () => Promise.resolve(refused.size > before + 8));
}

/** What /readyz answers; undefined if nobody does. */
async function readiness(server: TestServer): Promise<number | undefined> {
  const response = await fetch(`${server.admin}/readyz`).catch(() => undefined);
  await response?.text();
  return response?.status;
}

/**
 * A file that leaves about `keepBytes` of a disk free. It also takes what is freed later: a server
 * that ran out of room lets go of some, and would have found enough to go on.
 */
class Ballast implements AsyncDisposable {
  readonly #path: string;
  readonly #laid: Promise<void>;
  #isRemoved = false;

  constructor(disk: string, keepBytes: number) {
    this.#path = join(disk, 'ballast');
    this.#laid = this.#lay(disk, keepBytes);
  }

  async remove(): Promise<void> {
    this.#isRemoved = true;
    await this.#laid;
    await rm(this.#path, { force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }

  async #lay(disk: string, keepBytes: number): Promise<void> {
    await using file = await open(this.#path, 'a');
    while (!this.#isRemoved) {
      const { bavail, bsize } = await statfs(disk);
      const bytes = Math.max(0, bavail * bsize - keepBytes);
      // In one call, for many take long beside a busy server. It writes what there is room for.
      await file.write(Buffer.alloc(bytes)).catch((error: NodeJS.ErrnoException) => {
        // The server took the rest meanwhile: then the disk is as full as it gets.
        if (error.code !== 'ENOSPC') throw error;
      });
      await sleep(50);
    }
  }
}

/** A disk of its own; `await using` takes it away. */
async function smallDisk(bytes: number): Promise<{ readonly path: string } & AsyncDisposable> {
  const { path, remove } = await temporaryDirectory();
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path]);
  const unmount = async () => {
    // Lazily: a killed process may still be letting go of its files.
    execFileSync('umount', ['--lazy', path]);
    await remove();
  };
  return { path, [Symbol.asyncDispose]: unmount };
}

function canMount(): boolean {
  const probe = 'mount -t tmpfs -o size=1m tmpfs "$0" && umount "$0"';
  try {
    execFileSync('sh', ['-c', probe, '/mnt'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
