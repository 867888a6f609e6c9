import { resolve } from 'node:path';
import { fault, patient } from '../base/index.ts';
import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { operate } from './door.ts';
import { Progress } from './progress.ts';
import { bytes, count } from './render.ts';

const verifyCommand = defineCommand('verify', {
  summary: 'read all of a backup, and say whether it is what was written',
  settings: ['json'],
  argument: '<dir>',
  examples: ['backup verify /backups/millrace'],
  run: async ({ json }, given = '') => {
    const progress = new Progress('verifying', { unit: 'bytes', json });
    const task = { ...patient, progress: progress.show };
    const { verify } = await import('../backup/index.ts');
    const report = await verify(directoryOf(given), task).finally(() => progress.end());
    if (json) return console.log(JSON.stringify(report));
    console.log(`${report.directory} is whole: ${sizeText(report)}, of ${report.createdAt}`);
  },
});

export const backupCommand = defineCommand('backup', {
  summary: 'put the data into a folder, from which it can be restored; again: only what is new',
  settings: ['data', 'verify', 'json'],
  argument: '<dir>',
  examples: [
    'backup /backups/millrace',
    'backup /backups/millrace --verify',
    'backup verify /backups/millrace',
  ],
  run: async ({ data, verify: mustVerify, json }, given = '') => {
    const asked = { directory: directoryOf(given), verify: mustVerify };
    const progress = new Progress('backing up', { unit: 'bytes', json });
    const report = await operate(data, 'backup', asked, progress);
    if (json) return console.log(JSON.stringify(report));
    const { directory, newFiles: files, newBytes, heldMs } = report;
    console.log(`${directory} is a backup: ${sizeText(report)}`);
    console.log(`new in it: ${sizeText({ files, bytes: newBytes })}; loading waited ${heldMs} ms`);
    console.log(`\nTo restore: ${invocation()} restore ${given} --data NEW`);
  },
})
  .enablePositionalOptions()
  .addCommand(verifyCommand);

export const restoreCommand = defineCommand('restore', {
  summary: 'make a data directory of a backup, after reading all of it',
  settings: ['data', 'json'],
  help: { data: 'data directory to make; it must not be there yet, or be empty' },
  argument: '<dir>',
  examples: ['restore /backups/millrace --data /var/lib/millrace-restored'],
  run: async ({ data, json }, given = '') => {
    const progress = new Progress('restoring', { unit: 'bytes', json });
    const task = { ...patient, progress: progress.show };
    const { restore } = await import('../backup/index.ts');
    const report = await restore(directoryOf(given), data, task).finally(() => progress.end());
    if (json) return console.log(JSON.stringify(report));
    const rows = report.tables.reduce((sum, table) => sum + table.rows, 0);
    console.log(`${data} is what ${report.directory} was at ${report.createdAt}:`);
    console.log(
      `${sizeText(report)}; ${count(report.tables.length, 'table')}, ${count(rows, 'row')}`,
    );
    console.log(`\nTo start: ${invocation()} serve --data ${data}`);
  },
});

/** @throws BAD_USAGE */
function directoryOf(given: string): string {
  if (given !== '') return resolve(given);
  throw fault('BAD_USAGE', { seen: 'a folder is expected', hint: 'See: millrace backup --help' });
}

function sizeText(report: { readonly files: number; readonly bytes: number }): string {
  return `${count(report.files, 'file')}, ${bytes(report.bytes)}`;
}
