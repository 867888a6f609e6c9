import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/* docs/postback.md: every item has its source and names tests that exist. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const contract = readFileSync(`${root}docs/postback.md`, 'utf8');
const marks = ['documented', 'observed', 'inferred', 'ours'];

type Item = { readonly name: string; readonly source: string; readonly enforcedBy: string };

const items: readonly Item[] = contract
  .split(/^(?=\*\*P\d+\. )/m)
  .slice(1)
  .map((text) => ({
    name: /^\*\*(P\d+)\. /.exec(text)?.[1] ?? '',
    source: /^Source: (.+)$/m.exec(text)?.[1] ?? '',
    enforcedBy: /^Enforced by: (.+)$/m.exec(text)?.[1] ?? '',
  }));

/** The tests that an item names: `file` "name", "name"; `file` "name". */
function testsOf({ enforcedBy }: Item): readonly { file: string; name: string }[] {
  const parts = enforcedBy.matchAll(/`([^`]+)`((?:,? "[^"]+")*)/g);
  return [...parts].flatMap(([, file = '', names = '']) =>
    [...names.matchAll(/"([^"]+)"/g)].map(([, name = '']) => ({ file, name })),
  );
}

function pathOf(file: string): string {
  return `${root}test/${file.endsWith('.jsonl') ? 'wire/' : ''}${file}`;
}

/** Whether a file has a case or a test of a name. */
function has(file: string, name: string): boolean {
  if (!existsSync(pathOf(file))) return false;
  const text = readFileSync(pathOf(file), 'utf8');
  if (!file.endsWith('.jsonl')) return [`'${name}'`, `"${name}"`].some((it) => text.includes(it));
  const cases = text.trimEnd().split('\n');
  return cases.some((line) => (JSON.parse(line) as { name: string }).name === name);
}

describe('the contract', () => {
  test('numbers its items one after another', () => {
    expect(items.length).toBeGreaterThan(50);
    expect(items.map(({ name }) => name)).toEqual(items.map((_, index) => `P${index + 1}`));
  });

  test.each(items.map((item) => [item.name, item] as const))('%s', (_, item) => {
    expect(
      marks.some((mark) => item.source.includes(mark)),
      item.source,
    ).toBe(true);
    const tests = testsOf(item);
    expect(tests.length).toBeGreaterThan(0);
    const missing = tests.filter(({ file, name }) => !has(file, name));
    expect(missing).toEqual([]);
  });
});
