import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { grouped } from '../lines.ts';
import type { Reached } from './acks.ts';
import { type Findings, figure, holds, type Line, lineNames, lines } from './lines.ts';
import { type Bar, barPlot } from './plot.ts';

/** What a run found, and what that depends on. */
export type Report = {
  /** One, unless some lines were measured again later. */
  readonly runs: readonly { readonly date: string; readonly command: string }[];
  readonly cpu: string;
  readonly machine: readonly string[];
  readonly lines: Findings;
  /** Empty when the acknowledgements were not measured. */
  readonly reached: readonly Reached[];
};

/** The lines of a later run take the place of those of the one before. */
export function merged(before: Report | undefined, now: Report): Report {
  const isWhole = lineNames.every((name) => now.lines[name]);
  if (isWhole || before?.cpu !== now.cpu) return now;
  const reached = now.reached.length > 0 ? now.reached : before.reached;
  const runs = [...before.runs, ...now.runs];
  return { ...now, runs, lines: { ...before.lines, ...now.lines }, reached };
}

export function lineRows(found: Findings): readonly (readonly string[])[] {
  return lineNames.flatMap((name) => {
    const finding = found[name];
    if (!finding) return [];
    const line: Line = lines[name];
    const sign = line.bound === 'at least' ? '≥' : '≤';
    const target = `${sign} ${line.target.toLocaleString('en-US')} ${line.unit}`;
    if ('missing' in finding) return [[line.what, target, '–', '', finding.missing]];
    const verdict = holds(line, finding.value) ? 'yes' : 'no';
    return [[line.what, target, figure(finding.value, line.unit), verdict, finding.detail]];
  });
}

export function reachedRows(reached: readonly Reached[]): readonly (readonly string[])[] {
  return reached.map((one) => [
    `${one.name}, ${one.setting}`,
    one.means,
    grouped(one.perSecond),
    `${grouped(one.least)} – ${grouped(one.most)}`,
    one.cpuMicroseconds.toFixed(1),
    `${Math.round(one.busy * 100)} %`,
    `${Math.round(one.othersBusy * 100)} %`,
    `${Math.round(one.generatorBusy * 100)} %`,
  ]);
}

export const lineHead = ['line', 'target', 'measured', 'holds', ''];
export const reachedHead = [
  'one core, 256 connections',
  'an acknowledged event is',
  'acks/s',
  'least – most',
  'CPU µs each',
  'of the core',
  'others had',
  'generator had of its own',
];

export function markdown(report: Report): string {
  const parts = [
    report.machine.map((line) => `- ${line}`).join('\n'),
    report.runs.map(({ command, date }) => `\`${command}\`, ${date}`).join('; '),
    mdTable(lineHead, lineRows(report.lines)),
  ];
  if (report.reached.length > 0) {
    parts.push('![Acknowledgements a second](performance/acks.svg)');
    parts.push(mdTable(reachedHead, reachedRows(report.reached)));
  }
  return parts.join('\n\n');
}

export function mdTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.join(' | ').replaceAll('| no |', '| **no** |')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}

/** Puts text between the markers `<!-- name -->` and `<!-- /name -->` of a page. */
export function between(page: string, name: string, text: string): string {
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [page.indexOf(open), page.indexOf(close)];
  if (from < 0 || to < from) throw new Error(`the page has no ${open} … ${close}`);
  return `${page.slice(0, from + open.length)}\n\n${text}\n\n${page.slice(to)}`;
}

/** Writes into a page of documentation, and the pictures beside it. */
export async function writePage(
  docs: string,
  name: string,
  text: string,
  pictures: Readonly<Record<string, string>>,
): Promise<void> {
  const page = join(docs, 'performance.md');
  await writeFile(page, between(await readFile(page, 'utf8'), name, text));
  await mkdir(join(docs, 'performance'), { recursive: true });
  for (const [file, picture] of Object.entries(pictures)) {
    await writeFile(join(docs, 'performance', file), picture);
  }
}

export function acksPlot(reached: readonly Reached[]): string {
  const bars = reached.map(({ name, setting, means, perSecond, least, most }): Bar => {
    const kind = name === 'Millrace' ? 'own' : means === 'in memory' ? 'weak' : 'other';
    return { label: name, note: `${setting}; ${means}`, value: perSecond, least, most, kind };
  });
  return barPlot('Acknowledgements a second, server on one core', 'acks/s', bars);
}
