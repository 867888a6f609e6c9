import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';

/** All files of a folder but locks. */
export async function filesOf(at: string): Promise<readonly string[]> {
  const found = await readdir(at, { recursive: true, withFileTypes: true });
  const files = found.filter((entry) => entry.isFile() && !/lock$/i.test(entry.name));
  return files.map(({ parentPath, name }) => join(parentPath, name)).sort();
}

type Manifest = {
  readonly files: readonly { readonly path: string }[];
  readonly shards: readonly { readonly cursor: number; readonly durable: number }[];
};

export async function manifestOf(at: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(at, 'manifest.json'), 'utf8')) as Manifest;
}

/** The folder holds what its manifest names, and nothing else. */
export async function mustBeTidy(at: string): Promise<void> {
  const { files } = await manifestOf(at);
  const named = files.map(({ path }) => join(at, path));
  expect(await filesOf(at)).toEqual([...named, join(at, 'manifest.json')].sort());
}
