import { createHash } from 'node:crypto';
import { readFile, rm, stat, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  type DurableFile,
  isMissing,
  nodeDisk,
  type ReadableFile,
  writeFileAtomic,
} from '../base/index.ts';
import { headersOf } from './blocks.ts';

/*
 * How long the engine's log is on disk: written after each commit, before anybody relies on it. The
 * end of the power may leave any pieces of what stands behind; the engine takes some of them for
 * damage, and some for whole, since its checksums do not see equal words that are gone. So a start
 * cuts the log there, and what was in it is loaded again. The length is that of the log which goes
 * with the headers of the engine's file: each checkpoint makes new ones, and begins a new log.
 */

export class SyncedLog {
  readonly #path: string;
  readonly #main: ReadableFile;
  readonly #file: DurableFile;

  private constructor(path: string, main: ReadableFile, file: DurableFile) {
    this.#path = path;
    this.#main = main;
    this.#file = file;
  }

  /**
   * All that there is was written by now.
   * @param path of the engine's file.
   * @param main the same, open.
   */
  static async open(path: string, main: ReadableFile): Promise<SyncedLog> {
    await nodeDisk.syncDirectory(dirname(path));
    await writeFileAtomic(notePath(path), await noteOf(await sizeOf(`${path}.wal`), main));
    return new SyncedLog(path, main, await nodeDisk.openDurable(notePath(path)));
  }

  /** To be called when a commit has returned; its bytes are synced, and their name will be. */
  async note(): Promise<void> {
    await nodeDisk.syncDirectory(dirname(this.#path));
    await this.#file.write(await noteOf(await sizeOf(`${this.#path}.wal`), this.#main), 0);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** A new file, which has no log yet, before it has its name. */
export async function noteNew(made: string, path: string): Promise<void> {
  const main = await nodeDisk.openRead(made);
  try {
    await writeFileAtomic(notePath(path), await noteOf(0, main));
  } finally {
    await main.close();
  }
}

/** Whether the engine's log is longer than it is known to be on disk. */
export async function hasUnsynced(path: string): Promise<boolean> {
  const length = await syncedLength(path);
  return length !== undefined && (await sizeOf(`${path}.wal`)) > length;
}

/** Cuts that off. @param path of the engine's file, which nobody has open. */
export async function cutUnsynced(path: string): Promise<void> {
  const length = await syncedLength(path);
  if (length === undefined || (await sizeOf(`${path}.wal`)) <= length) return;
  await truncate(`${path}.wal`, length);
  await nodeDisk.syncFile(`${path}.wal`);
}

/** What somebody else writes to the engine's log now is not cut off. */
export async function forgetSynced(path: string): Promise<void> {
  await rm(notePath(path), { force: true });
  await nodeDisk.syncDirectory(dirname(path));
}

/** Undefined where nobody has noted it. */
async function syncedLength(path: string): Promise<number | undefined> {
  try {
    const note = await readFile(notePath(path));
    const main = await nodeDisk.openRead(path);
    try {
      const length = Number(note.readBigUInt64LE());
      return note.equals(await noteOf(length, main)) ? length : 0;
    } finally {
      await main.close();
    }
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

async function noteOf(length: number, main: ReadableFile): Promise<Buffer> {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(length));
  const digest = createHash('sha256')
    .update(await headersOf(main))
    .digest();
  return Buffer.concat([bytes, digest]);
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

function notePath(path: string): string {
  return `${path}.synced`;
}
