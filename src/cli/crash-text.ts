import { invocation } from '../config.ts';
import type { CrashReport, DiskFacts, Percentiles } from '../selftest/index.ts';
import { bytes, color, table, timeText } from './render.ts';

/*
 * The report of a crash test as text, such that an auditor can file it.
 */

type Line = readonly [name: string, text: string];

const killNames = {
  edge: 'one edge',
  store: 'the store',
  supervisor: 'the supervisor',
  all: 'all processes',
  drain: 'all, while they drain',
  start: 'all, and once more while starting',
} as const;

export function crashText(report: CrashReport): string {
  const { verdict, reasons, keptIn, seed, rounds } = report;
  const lines = [...circumstances(report), ...deeds(report), ...findings(report)];
  const conclusion =
    verdict === 'PASS'
      ? [
          'Every event that was acknowledged is in its table or in quarantine, once,',
          'as it was sent; nothing else is.',
        ]
      : [...reasons, ...(keptIn === undefined ? [] : [`The folder is kept: ${keptIn}`])];
  return [
    color('bold', 'Crash test of Millrace'),
    '',
    ...lines.map(([name, text]) => `${name.padEnd(14)}${text}`),
    '',
    kills(report),
    '',
    color(verdict === 'PASS' ? 'green' : 'red', `verdict       ${verdict}`),
    ...conclusion.map((line) => `              ${line}`),
    '',
    `To do the same again: ${invocation()} selftest crash --seed ${seed} --rounds ${rounds}`,
  ].join('\n');
}

/** Where, when and with what. */
function circumstances(report: CrashReport): readonly Line[] {
  const { machine, disk, syncMs, startedAt, endedAt } = report;
  const { millrace, node, processors, processor, memoryBytes, system } = machine;
  const [began, ended] = [startedAt, endedAt].map((at) => timeText(Date.parse(at)));
  return [
    ['time', `${began} to ${ended}`],
    ['program', `millrace ${millrace}, node ${node}`],
    ['machine', `${processors} × ${processor}, ${bytes(memoryBytes)}, ${system}`],
    ['disk', diskText(disk)],
    ['synced write', timesText(syncMs)],
  ];
}

function deeds(report: CrashReport): readonly Line[] {
  const { requests, startMs } = report;
  const { answered, refused, unanswered, unheard, repeated, givenUp, slow } = requests;
  const { keyChanges, archives, compactions, acknowledged } = report;
  return [
    ['rounds', `${number(report.rounds)}, seed ${report.seed}`],
    ['starts', `${number(startMs.count)}; ready after ${timesText(startMs)}`],
    ['requests', `${number(answered)} answered with 200, ${number(refused)} refused`],
    ['', `${number(unanswered)} cut off by a kill, ${number(unheard)} met no server`],
    ['', `${number(repeated)} sent again, ${number(givenUp)} given up, ${number(slow)} slow`],
    ['meanwhile', `${number(keyChanges)} keys came or went`],
    ['', `${number(archives)} archives, ${number(compactions)} compactions`],
    ['events', `${number(acknowledged)} acknowledged`],
    ['', `${number(report.refused)} refused, ${number(report.unanswered)} unanswered`],
  ];
}

function findings(report: CrashReport): readonly Line[] {
  const { findings: found, isFreshTaken, ledgerRemainder, isWhole, serverErrors } = report;
  const errors = serverErrors.map((error): Line => ['server said', error]);
  if (!found) return errors;
  const lines: readonly Line[] = [
    ['found', `${number(found.rows)} rows, ${number(found.parked)} events in quarantine`],
    ['', `${number(found.rescued)} of the rows have rescued values`],
    ['', `${number(found.openStored)} are unanswered events, which may be there`],
    ['lost', number(found.lost)],
    ['twice', number(found.twice)],
    ['changed', number(found.changed)],
    ['misplaced', number(found.misplaced)],
    ['ghosts', `${number(found.ghosts)} (stored, though refused or never sent)`],
    ['fresh events', isFreshTaken ? 'taken after the last kill, and found' : 'NOT TAKEN'],
    ['own ledger', ledgerRemainder === 0 ? 'right' : `misses ${ledgerRemainder} events`],
    ['fsck', isWhole ? 'everything is what was written' : 'DAMAGE'],
  ];
  return [...lines, ...errors];
}

function kills({ kills: killed }: CrashReport): string {
  const rows = Object.entries(killed).map(([target, one]) => {
    return [killNames[target as keyof typeof killed], one.kills, one.inFlight, one.cut];
  });
  return table(['killed', 'times', 'requests under way', 'some cut off'], rows);
}

/** What a disk is. */
export function diskText({ fileSystem, device, model, freeBytes, sizeBytes }: DiskFacts): string {
  const name = [device, model && `(${model})`].filter(Boolean).join(' ');
  return `${fileSystem} on ${name}, ${bytes(freeBytes)} of ${bytes(sizeBytes)} free`;
}

function timesText({ p50, p90, p99, max }: Percentiles): string {
  return `p50 ${msText(p50)}, p90 ${msText(p90)}, p99 ${msText(p99)}, max ${msText(max)}`;
}

export function msText(ms: number): string {
  if (ms < 0.1) return `${(ms * 1000).toFixed(1)} µs`;
  if (ms < 10) return `${ms.toFixed(ms < 1 ? 3 : 2)} ms`;
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function number(value: number): string {
  return value.toLocaleString('en');
}
