import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { patient } from '../base/index.ts';
import type { StorageReport } from '../selftest/index.ts';
import { defineCommand } from './command.ts';
import { diskText, msText, number } from './crash-text.ts';
import { Progress } from './progress.ts';
import { bytes, color, table } from './render.ts';

export const storageCheckCommand = defineCommand('storage-check', {
  summary: 'measure how long the disk takes to make a write safe, and whether it seems to lie',
  settings: ['data', 'seconds', 'json'],
  help: { data: 'the disk below this folder is meant, unless DIR names another' },
  argument: '[dir]',
  examples: [
    'storage-check',
    'storage-check /var/lib/millrace --seconds 60',
    'storage-check /mnt/new-disk --json',
  ],
  run: async ({ data, seconds, json }, given) => {
    const directory = resolve(given ?? (existsSync(data) ? data : dirname(data)));
    const progress = new Progress('measuring', { unit: 'measures', json });
    const task = { ...patient, progress: progress.show };
    const selftest = await import('../selftest/index.ts');
    const report = await selftest
      .checkStorage(directory, seconds, task)
      .finally(() => progress.end());
    console.log(json ? JSON.stringify(report) : textOf(report, selftest.bands, selftest.unseen));
    if (report.verdict === 'unfit' || report.suspicious.length > 0) process.exitCode = 1;
  },
});

function textOf(
  report: StorageReport,
  bands: typeof import('../selftest/index.ts')['bands'],
  unseen: string,
): string {
  const { machine, disk, verdict, means, advice, suspicious, notes, eventsPerSecond } = report;
  const { device, mountOptions, writeCache } = disk;
  const isGood = verdict !== 'unfit' && suspicious.length === 0;
  const measured = report.measured.map(({ what, way, bytes: size, ms, perSecond }) => {
    const times = [ms.p50, ms.p90, ms.p99, ms.max].map(msText);
    return [what, wayNames[way], size, ...times, Math.round(perSecond)];
  });
  const headings = ['written', 'how', 'bytes', 'p50', 'p90', 'p99', 'max', 'per second'];
  const limits = bands.slice(0, 3).map((band) => {
    return [band.verdict, msText(band.p50), msText(band.p99), band.means];
  });
  return [
    color('bold', `The disk below ${disk.directory}`),
    '',
    `disk        ${diskText(disk)}`,
    `mounted     ${mountOptions.join(',')}${device && writeCache ? `; cache: ${writeCache}` : ''}`,
    `machine     ${machine.processors} × ${machine.processor}, ${machine.system}`,
    '',
    table(headings, measured),
    '',
    `one long write, until it is synced: ${bytes(report.bulkBytesPerSecond)}/s`,
    '',
    color(isGood ? 'green' : 'red', `verdict     ${verdict}: ${means}`),
    `one sender  up to ${number(eventsPerSecond.oneSender)} events/s, each after the other`,
    `many        up to ${number(eventsPerSecond.groupsOf64)} events/s when 64 share a sync`,
    `advice      ${advice}`,
    ...suspicious.map((sign) => color('red', `SUSPICIOUS  ${sign}`)),
    ...notes.map((note) => `note        ${note}`),
    '',
    unseen,
    '',
    table(['verdict', 'p50 up to', 'p99 up to', 'what it means'], limits),
    `Beyond that a disk is unfit.`,
  ].join('\n');
}

const wayNames = {
  dsync: 'O_DSYNC, as the log',
  fdatasync: 'write, fdatasync',
  fsync: 'write, fsync',
  none: 'write alone',
} as const;
