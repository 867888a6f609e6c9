import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

/* What runs beside our own code is named, locked, and runs nothing when it is installed. */

const textOf = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

type Locked = {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
};

test('every library at run time has its line in the threat model', () => {
  const { dependencies } = JSON.parse(textOf('package.json')) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const [, table = ''] = textOf('docs/threat-model.md').split('## Libraries at run time');
  const named = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name);
  expect(new Set(named)).toEqual(new Set(Object.keys(dependencies)));
  // One version, not a range.
  for (const version of Object.values(dependencies)) expect(version).toMatch(/^\d+\.\d+\.\d+/);
});

test('all of them have a checksum, and none an install script', () => {
  const { packages } = JSON.parse(textOf('package-lock.json')) as {
    readonly packages: Readonly<Record<string, Locked>>;
  };
  const atRunTime = Object.entries(packages).filter(([path, { dev, devOptional }]) => {
    return path !== '' && !dev && !devOptional;
  });
  expect(atRunTime.length).toBeGreaterThan(10);
  for (const [path, { integrity, hasInstallScript }] of atRunTime) {
    expect(integrity, path).toMatch(/^sha512-/);
    expect(hasInstallScript, path).toBeUndefined();
  }
});

test('the threat model names tests that exist', () => {
  const rows = textOf('docs/threat-model.md').matchAll(/`([\w/-]+\.(?:test\.ts|jsonl|ts))`/g);
  const names = [...rows].map(([, name = '']) => name).filter((name) => !name.startsWith('src/'));
  expect(names.length).toBeGreaterThan(20);
  for (const name of names) expect(textOf(`test/${name}`), name).not.toBe('');
});
