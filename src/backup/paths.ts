import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative } from 'node:path';
import { isMissing } from '../base/index.ts';

/** A path without symbolic links; its end need not be there yet. */
export async function truePath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (!isMissing(error) || dirname(path) === path) throw error;
    return join(await truePath(dirname(path)), basename(path));
  }
}

/** Whether one of two folders is the other or lies in it. */
export async function overlap(one: string, other: string): Promise<boolean> {
  const [first, second] = [await truePath(one), await truePath(other)];
  const isWithin = (path: string, outer: string) => {
    const way = relative(outer, path);
    return way !== '..' && !way.startsWith('../') && !isAbsolute(way);
  };
  return isWithin(first, second) || isWithin(second, first);
}

/** Paths of all files below a folder that is perhaps not there; names with a dot are left out. */
export async function filesBelow(directory: string, below = ''): Promise<readonly string[]> {
  const paths: string[] = [];
  for (const entry of await entriesOf(join(directory, below))) {
    const path = join(below, entry.name);
    if (entry.name.startsWith('.')) continue;
    if (entry.isDirectory()) paths.push(...(await filesBelow(directory, path)));
    else if (entry.isFile()) paths.push(path);
  }
  return paths;
}

/** What is in a folder; nothing if it is not there. */
export async function entriesOf(directory: string) {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
