import { isDeepStrictEqual } from 'node:util';
import { type Disk, fault, type Logger, messageOf, readWhole } from '../base/index.ts';
import type { KeyEntry } from './entry.ts';
import { keysPath, parseKeys } from './file.ts';

/** The keys in memory, by fingerprint. */
export class KeyRing {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #logger: Logger;
  /** The version of the file that was looked at last, good or bad. */
  #seen = '';
  #keys: ReadonlyMap<string, KeyEntry> | undefined;
  #all: readonly KeyEntry[] = [];
  #version = 0;

  constructor(disk: Disk, dataDirectory: string, logger: Logger) {
    this.#disk = disk;
    this.#path = keysPath(dataDirectory);
    this.#logger = logger;
  }

  /** Grows by one when a refresh puts other keys in force than before; 0 is for none. */
  get version(): number {
    return this.#version;
  }

  /**
   * Reads the file again if it was changed. One that is bad or gone leaves the last good one in
   * force; a missing one at the start is one without keys.
   * @throws BAD_KEYS_FILE when there was no good one yet: without keys every event looks unknown
   */
  async refresh(): Promise<void> {
    let seen = 'unreadable';
    try {
      const found = (await this.#look(() => this.#disk.version(this.#path))) ?? 'gone';
      if (found === 'gone' && this.#keys === undefined) return;
      if (this.#seen === found) return;
      const text = await this.#look(async () => {
        return found === 'gone' ? '' : String(await readWhole(this.#disk, this.#path));
      });
      // Only what was read is not looked at again: the next read may succeed.
      seen = found;
      const keys = parseKeys(this.#path, text);
      if (!isDeepStrictEqual(keys, this.#all)) this.#version += 1;
      this.#all = keys;
      this.#keys = new Map(keys.map((key) => [key.fingerprint, key]));
    } catch (error) {
      if (this.#keys === undefined) throw error;
      if (this.#seen === seen) return;
      const message = 'keys.json is not readable: the last good one stays in force';
      this.#logger.error({ path: this.#path, error: messageOf(error) }, message);
    }
    this.#seen = seen;
  }

  /** Every key, revoked ones included. */
  all(): readonly KeyEntry[] {
    return this.#all;
  }

  /** The key with a fingerprint (hexadecimal), revoked or not. */
  find(fingerprint: string): KeyEntry | undefined {
    return this.#keys?.get(fingerprint);
  }

  async #look<T>(at: () => Promise<T>): Promise<T> {
    try {
      return await at();
    } catch (error) {
      throw fault('BAD_KEYS_FILE', { seen: this.#path, reason: messageOf(error) }, error);
    }
  }
}
