import { describe, expect, test } from 'vitest';
import { warnings } from '../bench/compare/baseline.ts';
import type { Findings } from '../bench/compare/lines.ts';
import { barPlot } from '../bench/compare/plot.ts';
import { between, lineRows, merged, type Report } from '../bench/compare/report.ts';
import { ratio } from '../bench/compare/run.ts';
import { flameGraph } from '../bench/profile/flame.ts';
import { callTree, type CpuProfile, spentByPlace } from '../bench/profile/tree.ts';

/* What the benches make of their figures. */

const value = (of: number) => ({ value: of, detail: '' });
const all: Findings = {
  edge: value(0.9),
  whole: value(0.6),
  fluent: { missing: 'Fluent Bit was not found' },
  cores: value(1.8),
  ndjson: value(400_000),
  latency: value(4),
  sync: value(3),
  latencyWhole: value(4),
  syncWhole: value(3),
  memory: value(200),
  start: value(1),
  tables: value(1.1),
  rows: value(1),
};

function report(cpu: string, lines: Findings, command = 'all'): Report {
  return { runs: [{ date: '2026-11-26', command }], cpu, machine: [], lines, reached: [] };
}

describe('a comparison', () => {
  test('the ratio is the median of those of the rounds, which a slow round does not change', () => {
    expect(ratio([10, 1, 20], [20, 2, 10])).toBe(0.5);
  });

  test('a line holds at its target, and says so the way round that it is meant', () => {
    const rows = lineRows({ edge: value(0.85), whole: value(0.49), start: value(2.01) });
    expect(rows.map(([, target, , holds]) => [target, holds])).toEqual([
      ['≥ 0.85 ×', 'yes'],
      ['≥ 0.5 ×', 'no'],
      ['≤ 2 s', 'no'],
    ]);
  });

  test('what could not be measured is shown with the reason', () => {
    expect(lineRows(all)[2]?.slice(2)).toEqual(['–', '', 'Fluent Bit was not found']);
  });
});

describe('the baseline', () => {
  test('warns of a line that is below 0.85 of what it was, whichever way is better', () => {
    const now = { ...all, edge: value(0.7), latency: value(4.6), start: value(1.2) };
    const said = warnings(report('a', all), report('a', now));
    expect(said.map((line) => line.split(':')[0])).toEqual(['edge', 'start']);
  });

  test('of another machine only ratios are compared', () => {
    const now = { ...all, ndjson: value(1), rows: value(2) };
    const said = warnings(report('a', all), report('b', now));
    expect(said.map((line) => line.split(':')[0])).toEqual(['rows']);
  });

  test('a run of some lines leaves the others as they were, and says that there were two', () => {
    const some = report('a', { edge: value(0.99) }, 'some');
    const both = merged(report('a', all), some);
    expect(both.lines).toEqual({ ...all, edge: value(0.99) });
    expect(both.runs.map(({ command }) => command)).toEqual(['all', 'some']);
    expect(merged(report('a', all), report('a', all, 'again')).runs).toHaveLength(1);
    expect(merged(report('b', all), some)).toEqual(some);
  });
});

describe('the page', () => {
  test('only what is between the markers is written anew', () => {
    const page = 'before\n<!-- x -->\nold\n<!-- /x -->\nafter';
    const written = 'before\n<!-- x -->\n\nnew\n\n<!-- /x -->\nafter';
    expect(between(page, 'x', 'new')).toBe(written);
    expect(between(written, 'x', 'new')).toBe(written);
    expect(() => between(page, 'y', 'new')).toThrow('<!-- y -->');
  });

  test('a plot shows the greatest first, and text as it is', () => {
    const bar = { note: 'n', least: 1, most: 30, kind: 'own' } as const;
    const plot = barPlot('t', 'acks/s', [
      { ...bar, label: 'little', value: 10 },
      { ...bar, label: 'a <b> & c', value: 20 },
    ]);
    expect(plot.indexOf('a &#60;b&#62; &#38; c')).toBeGreaterThan(0);
    expect(plot.indexOf('little')).toBeGreaterThan(plot.indexOf('a &#60;'));
    expect(plot).not.toContain('<b>');
    const widths = [...plot.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map(([, one]) => Number(one));
    expect(widths[0]).toBeCloseTo(2 * (widths[1] ?? 0), 0);
  });
});

describe('a profile', () => {
  const frame = (functionName: string, url = '', lineNumber = 9) => {
    return { functionName, url, lineNumber };
  };
  const hot = 'file:///srv/millrace/src/edge/hot.ts';
  const profile: CpuProfile = {
    nodes: [
      { id: 1, callFrame: frame('(root)'), children: [2, 3, 5, 6] },
      { id: 2, callFrame: frame('(idle)') },
      { id: 3, callFrame: frame('take<T>', hot), children: [4] },
      { id: 4, callFrame: frame('writeUtf8String') },
      { id: 5, callFrame: frame('take<T>', hot) },
      { id: 6, callFrame: frame('little', 'file:///srv/millrace/node_modules/@a/b/c.js') },
    ],
    startTime: 1_000,
    samples: [3, 2, 3, 4, 4, 5, 6, 3],
    timeDeltas: [1_000, 5_000, 1_000, 2_000, 2_000, 3_990, 10, 9_000],
  };
  const root = callTree(profile, { fromMicros: 3_000, toMicros: 20_000 });

  test('counts what was done in its window, and no waiting', () => {
    expect(root.total).toBe(1_000 + 2_000 + 2_000 + 3_990 + 10);
    expect(spentByPlace(root)).toEqual([
      { place: 'src/edge/hot.ts', share: 4_990 / 9_000 },
      { place: 'native writeUtf8String', share: 4_000 / 9_000 },
      { place: '@a/b', share: 10 / 9_000 },
    ]);
  });

  test('the same function called from the same place is one', () => {
    expect([...root.calls.values()].map(({ name, own, total }) => [name, own, total])).toEqual([
      ['take<T>', 4_990, 8_990],
      ['little', 10, 10],
    ]);
  });

  test('a flame graph has what takes 0.3 % and more, with its place and its cost', () => {
    const drawn = flameGraph('title', root, 9);
    const told = '<title>take&#60;T&#62; src/edge/hot.ts:10, 8.99 µs an event, 99.9 %</title>';
    expect(drawn).toContain(told);
    expect(drawn).toContain('native');
    expect(drawn).not.toContain('little');
  });
});
