import { expect, test } from 'vitest';
import type { DiskFacts } from './machine.ts';
import { percentilesOf } from './percentiles.ts';
import { judge, type Measured } from './verdict.ts';

const disk: DiskFacts = {
  directory: '/data',
  freeBytes: 1e12,
  sizeBytes: 2e12,
  fileSystem: 'ext4',
  device: '/dev/sda1',
  mountOptions: ['rw', 'relatime'],
  model: 'A DISK',
  isRotating: false,
  writeCache: 'write through',
};

/** Figures of a disk whose synced writes take so long. */
function figures(p50: number, p99: number, bulkBytesPerSecond = 4e8) {
  const ms = { count: 100, mean: p50, p50, p90: p99, p99, max: p99 };
  const one: Measured = {
    what: '',
    way: 'dsync',
    writers: 1,
    bytes: 512,
    ms,
    perSecond: 1e3 / p50,
  };
  const plainMs = { ...ms, mean: 0.001, p50: 0.001 };
  const plain: Measured = { ...one, way: 'none', ms: plainMs, perSecond: 1e6 };
  return { measured: [one, one, plain], bulkBytesPerSecond };
}

test.each([
  { p50: 0.2, p99: 3, verdict: 'excellent' },
  { p50: 0.2, p99: 11, verdict: 'good' },
  { p50: 1.1, p99: 3, verdict: 'good' },
  { p50: 8, p99: 40, verdict: 'slow' },
  { p50: 8, p99: 900, verdict: 'unfit' },
  { p50: 31, p99: 40, verdict: 'unfit' },
])('a synced write of $p50 ms, p99 $p99 ms is $verdict', ({ p50, p99, verdict }) => {
  const judged = judge({ disk, ...figures(p50, p99) });
  expect(judged).toMatchObject({ verdict, suspicious: [], notes: [] });
  expect(judged.eventsPerSecond.groupsOf64).toBeCloseTo(64_000 / p50, -1);
});

test('memory is unfit, however fast', () => {
  const judged = judge({ disk: { ...disk, fileSystem: 'tmpfs' }, ...figures(0.001, 0.002, 1e12) });
  expect(judged).toMatchObject({ verdict: 'unfit', suspicious: [] });
  expect(judged.means).toContain('memory');
});

test.each<readonly [string, Partial<DiskFacts>, ReturnType<typeof figures>]>([
  ['nobarrier', { mountOptions: ['rw', 'nobarrier'] }, figures(0.2, 1)],
  ['barrier=0', { mountOptions: ['rw', 'barrier=0'] }, figures(0.2, 1)],
  ['nothing seems to be awaited', {}, figures(0.002, 0.01)],
  ['it turns', { isRotating: true }, figures(0.3, 1)],
  ['faster than any medium', {}, figures(0.2, 1, 40e9)],
])('a disk is suspicious: %s', (sign, facts, seen) => {
  const judged = judge({ disk: { ...disk, ...facts }, ...seen });
  expect(judged.suspicious).toEqual([expect.stringContaining(sign)]);
  expect(judged.advice).toContain('before you trust it');
});

test('a disk that turns is not suspicious when it takes its time', () => {
  expect(judge({ disk: { ...disk, isRotating: true }, ...figures(8, 20) }).suspicious).toEqual([]);
});

test.each([
  [{ fileSystem: 'overlay' }, 'container'],
  [{ fileSystem: 'nfs4' }, 'another machine'],
  [{ model: '' }, 'does not say'],
  [{ writeCache: 'write back' }, 'flushes'],
])('what stands between is said: %j', (facts, note) => {
  const { notes } = judge({ disk: { ...disk, ...facts }, ...figures(0.2, 1) });
  expect(notes).toEqual([expect.stringContaining(note)]);
});

test('percentiles are samples, by nearest rank', () => {
  const samples = Array.from({ length: 200 }, (_, index) => 200 - index);
  expect(percentilesOf(samples)).toEqual({
    count: 200,
    mean: 100.5,
    p50: 100,
    p90: 180,
    p99: 198,
    max: 200,
  });
  expect(percentilesOf([7])).toMatchObject({ p50: 7, p99: 7, max: 7 });
});
