import { join } from 'node:path';
import { type Disk, type DurableFile, isNoRoom } from '../base/index.ts';

const preparedName = 'next';
/** Written at once: a group that is written meanwhile waits for no more than this. */
const pieceBytes = 128 * 1024;

/**
 * A file of zeros that becomes a shard's next segment. A synced write into what is there already
 * changes nothing of the file system's own books: it waits for no journal, nor for the writes of
 * others that the journal waits for.
 */
export class Prepared {
  readonly #disk: Disk;
  readonly #path: string;
  #state: 'none' | 'filling' | 'ready' | 'failed' = 'none';
  #file: DurableFile | undefined;
  #filled: Promise<void> = Promise.resolve();
  #isClosed = false;

  private constructor(disk: Disk, path: string) {
    this.#disk = disk;
    this.#path = path;
  }

  /** Removes what an earlier process left. */
  static async open(disk: Disk, directory: string): Promise<Prepared> {
    const path = join(directory, preparedName);
    if ((await disk.list(directory)).includes(preparedName)) await disk.remove(path);
    return new Prepared(disk, path);
  }

  get isReady(): boolean {
    return this.#state === 'ready';
  }

  /** Whether `start` would do nothing. */
  get isBegun(): boolean {
    return this.#state !== 'none';
  }

  /**
   * Begins to fill the file, if that was not begun; resolves when it is whole, or cannot be for
   * want of room.
   * @param bytes its length. @throws what else the disk throws
   */
  async start(bytes: number): Promise<void> {
    if (this.#state !== 'none' || this.#isClosed) return;
    this.#state = 'filling';
    this.#filled = this.#fill(bytes);
    await this.#filled;
  }

  /**
   * Gives the file the name of a segment, which is not durable yet; undefined if it is not ready.
   * @param head of the segment, which is written before.
   */
  async take(path: string, head: Uint8Array): Promise<DurableFile | undefined> {
    const file = this.#file;
    if (this.#state === 'failed') this.#state = 'none';
    if (this.#state !== 'ready' || !file) return undefined;
    await file.write(head, 0);
    await this.#disk.rename(this.#path, path);
    this.#file = undefined;
    this.#state = 'none';
    return file;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    // Whoever began it is told why it failed.
    await this.#filled.catch(() => undefined);
    await this.#discard();
  }

  async #fill(bytes: number): Promise<void> {
    try {
      const file = await this.#disk.openDurable(this.#path);
      this.#file = file;
      const zeros = Buffer.alloc(Math.min(bytes, pieceBytes));
      for (let at = 0; at < bytes && !this.#isClosed; at += zeros.length) {
        await file.write(zeros.subarray(0, bytes - at), at);
      }
      this.#state = this.#isClosed ? 'failed' : 'ready';
    } catch (error) {
      if (!isNoRoom(error)) throw error;
      this.#state = 'failed';
      await this.#discard();
    }
  }

  async #discard(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    if (!file) return;
    await file.close();
    try {
      await this.#disk.remove(this.#path);
    } catch (error) {
      // It stands there to be filled again, or until the next start.
      if (!isNoRoom(error)) throw error;
    }
  }
}
