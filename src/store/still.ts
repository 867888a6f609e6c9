import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeDisk, type ReadableFile } from '../base/index.ts';
import { fileName } from './catalog.ts';
import type { Still } from './types.ts';

/**
 * The engine's files held still, to be copied. It writes into its file when it moves its own log
 * there (a checkpoint), otherwise only where nothing is that the last checkpoint names. So after a
 * checkpoint the file stays what it is until the next, however much is written meanwhile.
 */
export class StillFiles {
  readonly #path: string;
  readonly #checkpoint: () => Promise<boolean>;
  #held = 0;
  #main: Promise<ReadableFile> | undefined;

  /** @param checkpoint says whether the engine's log is empty then. */
  constructor(directory: string, checkpoint: () => Promise<boolean>) {
    this.#path = join(directory, fileName);
    this.#checkpoint = checkpoint;
  }

  /** Whether there may be no checkpoint now. */
  get isHeld(): boolean {
    return this.#held > 0;
  }

  /** The engine's file. */
  main(): Promise<ReadableFile> {
    // Never closed before the engine's own: the system takes the engine's lock away from a process
    // that closes any of its descriptors of the file.
    this.#main ??= nodeDisk.openRead(this.#path);
    return this.#main;
  }

  /** To be called when nothing is written. */
  async hold(): Promise<Still> {
    const lasts = !this.isHeld && (await this.#checkpoint());
    this.#held += 1;
    const wal = lasts ? undefined : await openIfThere(`${this.#path}.wal`);
    const main = await this.main();
    const files = [{ name: fileName, file: main, bytes: await main.size() }];
    if (wal) files.push({ name: `${fileName}.wal`, file: wal, bytes: await wal.size() });
    let isEnded = false;
    const end = async () => {
      if (isEnded) return;
      isEnded = true;
      this.#held -= 1;
      await wal?.close();
    };
    return { files, lasts, end };
  }

  /** After the engine. */
  async close(): Promise<void> {
    await (await this.#main)?.close();
  }
}

async function openIfThere(path: string): Promise<ReadableFile | undefined> {
  const isThere = await stat(path).then(
    () => true,
    () => false,
  );
  return isThere ? nodeDisk.openRead(path) : undefined;
}
