import { Command } from 'commander';
import { patient, randomIds } from '../base/index.ts';
import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { crashText } from './crash-text.ts';
import { Progress } from './progress.ts';

const minutesDefault = 2;

const crash = defineCommand('crash', {
  summary: 'kill a server of its own again and again while events come, and count them',
  settings: ['data', 'minutes', 'rounds', 'seed', 'json'],
  help: { data: 'the test makes a folder of its own beside this one, which it does not touch' },
  examples: [
    'selftest crash',
    'selftest crash --minutes 30 --data /var/lib/millrace',
    'selftest crash --rounds 200 --seed 7 --json',
  ],
  run: async ({ data, minutes, rounds, seed, json }) => {
    const isBare = minutes === undefined && rounds === undefined;
    const forMs = (minutes ?? (isBare ? minutesDefault : Infinity)) * 60_000;
    const options = { data, forMs, roundsMax: rounds ?? Infinity, seed: seed ?? newSeed() };
    const progress = new Progress('killing', { unit: 'rounds', json });
    const task = { ...patient, progress: progress.show };
    const { crashTest } = await import('../selftest/index.ts');
    const report = await crashTest({ ...options, task }).finally(() => progress.end());
    console.log(json ? JSON.stringify(report) : crashText(report));
    if (report.verdict !== 'PASS') process.exitCode = 1;
  },
});

export const selftestCommand = new Command('selftest')
  .description('prove the promise on this machine, with a server of its own')
  .addCommand(crash)
  .addHelpText('after', `\nExamples:\n  ${invocation()} selftest crash --minutes 2`);

function newSeed(): number {
  return randomIds.bytes(4).readUInt32LE(0) >>> 1;
}
