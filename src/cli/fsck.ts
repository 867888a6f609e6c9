import { patient } from '../base/index.ts';
import type { Finding, FsckReport, Load } from '../fsck/index.ts';
import { defineCommand } from './command.ts';
import { closedConfig, mustHaveData, withRooms } from './door.ts';
import { takeLocks } from './locks.ts';
import { Progress } from './progress.ts';
import { bytes, color, count, harmless } from './render.ts';

const damageCode = 2;

export const fsckCommand = defineCommand('fsck', {
  summary: 'read all of a data directory that no server has: what is damaged, what that covers',
  settings: ['data', 'repair', 'json'],
  examples: ['fsck', 'fsck --repair --data /var/lib/millrace', 'fsck --json'],
  run: async ({ data, repair, json }) => {
    mustHaveData(data);
    const release = await takeLocks(data, 'all');
    const progress = new Progress('checking', { unit: 'bytes', json });
    try {
      const { fsck } = await import('../fsck/index.ts');
      const task = { ...patient, progress: progress.show };
      const report = await fsck(data, repair ? loadOf(data) : undefined, task);
      progress.end();
      if (json) console.log(JSON.stringify(report));
      else print(report, repair);
      // 1 is for what could not be done at all.
      if (!report.isWhole) process.exitCode = damageCode;
    } finally {
      progress.end();
      release();
    }
  },
});

function loadOf(data: string): Load {
  return (use) =>
    withRooms(closedConfig(data), ({ store, loader }) => {
      return use({ store, alone: (work) => loader.archivist.alone(work) });
    });
}

function print({ checked, findings, repair, isWhole }: FsckReport, isRepair: boolean): void {
  const { segments, records, tables, files, bytes: size } = checked;
  const log = `${count(segments, 'segment')} with ${count(records, 'record')}`;
  console.log(`read ${bytes(size)}: ${log}; ${count(tables, 'table')}, ${count(files, 'file')}`);
  for (const finding of findings) printFinding(finding);
  if (repair) {
    console.log(`\n${color('bold', 'repaired')}; what was there before is in ${repair.kept}`);
    for (const line of repair.done) console.log(`  ${harmless(line)}`);
    for (const finding of repair.left) {
      if (finding.level === 'damage') console.log(`  still damaged: ${finding.where}`);
    }
  }
  console.log(`\n${verdictOn(isWhole, findings.length, isRepair)}`);
}

function printFinding({ part, level, where, seen, covers, remedy }: Omit<Finding, 'fix'>): void {
  const mark = level === 'damage' ? color('red', 'damage') : 'note';
  console.log(`\n${mark}  ${part}  ${harmless(where)}`);
  console.log(`  seen    ${harmless(seen)}`);
  console.log(`  covers  ${covers}`);
  console.log(`  helps   ${remedy}`);
}

function verdictOn(isWhole: boolean, found: number, isRepair: boolean): string {
  if (isWhole) return found === 0 ? 'everything is what was written' : 'nothing is damaged now';
  return isRepair ? 'there is damage left that --repair cannot mend' : 'there is damage';
}
