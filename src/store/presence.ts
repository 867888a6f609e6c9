import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fault, isMissing, isNoRoom, nodeDisk, writeFileAtomic } from '../base/index.ts';
import { fileName } from './catalog.ts';
import { lakePaths } from './lake-files.ts';

/*
 * A data directory says that it has a store, outside of the store's folder: who finds none must
 * not begin with an empty one, which would name no file of the lake and know no cursor.
 */

const markName = 'STORE';
const markText = 'There is a store in store/. Without it no server starts here.\n';

/** @throws STORE_MISSING when there was a store, and its file is not there */
export async function mustNotBeLost(dataDirectory: string): Promise<void> {
  if (await hasStore(dataDirectory)) return;
  const path = join(dataDirectory, 'store', fileName);
  const refuse = (why: string) => fault('STORE_MISSING', { seen: path, why });
  if (await isThere(`${path}.wal`)) throw refuse('its log is there');
  const lake = join(dataDirectory, 'lake');
  const [first] = (await isThere(lake)) ? await lakePaths(lake) : [];
  if (first) throw refuse(`there are files of it in lake/, ${first} for one`);
  if (await isThere(join(dataDirectory, markName))) throw refuse(`${markName} says that it was`);
}

/** Whether the file is there. */
export function hasStore(dataDirectory: string): Promise<boolean> {
  return isThere(join(dataDirectory, 'store', fileName));
}

/** Once there is a store on disk. */
export async function markStore(dataDirectory: string): Promise<void> {
  const path = join(dataDirectory, markName);
  if (await isThere(path)) return;
  await nodeDisk.syncDirectory(join(dataDirectory, 'store'));
  await writeFileAtomic(path, markText).catch((error: unknown) => {
    // A store that exists must open on a full disk too.
    if (!isNoRoom(error)) throw error;
  });
}

export async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
