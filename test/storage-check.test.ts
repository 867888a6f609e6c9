import { statfsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { StorageReport } from '../src/selftest/index.ts';
import { millrace, temporaryDirectory } from './support/server.ts';

const memory = '/dev/shm';
const tmpfsMagic = 0x01021994;

async function check(directory: string) {
  const ran = await millrace(['storage-check', directory, '--seconds', '1', '--json']);
  expect(ran.stderr).toBe('');
  const last = ran.stdout.trim().split('\n').at(-1) ?? '';
  return { code: ran.code, report: JSON.parse(last) as StorageReport };
}

test('storage-check measures the disk below a folder, and leaves nothing there', async () => {
  await using directory = await temporaryDirectory();
  const { code, report } = await check(directory.path);
  expect(code).toBe(report.verdict === 'unfit' || report.suspicious.length > 0 ? 1 : 0);
  expect(report.disk.directory).toBe(directory.path);
  expect(report.disk.sizeBytes).toBeGreaterThan(report.disk.freeBytes);
  expect(new Set(report.measured.map(({ way }) => way)).size).toBe(4);
  for (const { ms, perSecond } of report.measured) {
    expect(ms.count).toBeGreaterThan(0);
    expect([ms.p50, ms.p90, ms.p99, ms.max]).toEqual([ms.p50, ms.p90, ms.p99, ms.max].toSorted(up));
    expect(perSecond).toBeGreaterThan(0);
  }
  expect(report.bulkBytesPerSecond).toBeGreaterThan(0);
  expect(await readdir(directory.path)).toEqual([]);
});

test.skipIf(!isMemory())(`memory is unfit (needs a tmpfs at ${memory})`, async () => {
  const path = await mkdtemp(join(memory, 'millrace-test-'));
  const { code, report } = await check(path);
  await rm(path, { recursive: true });
  expect(code).toBe(1);
  expect(report).toMatchObject({ verdict: 'unfit', disk: { fileSystem: 'tmpfs' } });
});

test('storage-check of a folder that is not there says so', async () => {
  await using directory = await temporaryDirectory();
  const ran = await millrace(['storage-check', join(directory.path, 'missing')]);
  expect(ran).toMatchObject({ code: 1, stdout: '' });
  expect(ran.stderr).toContain(join(directory.path, 'missing'));
});

function isMemory(): boolean {
  try {
    return statfsSync(memory).type === tmpfsMagic;
  } catch {
    return false;
  }
}

function up(a: number, b: number): number {
  return a - b;
}
