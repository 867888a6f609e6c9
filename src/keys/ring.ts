import { readFile, stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { fault, type Logger, messageOf, type MillraceError } from '../base/index.ts';
import type { KeyEntry } from './entry.ts';
import { keysPath, parseKeys } from './file.ts';

/** The keys in memory, by fingerprint. */
export class KeyRing {
  readonly #path: string;
  readonly #logger: Logger;
  /** The version of the file that was looked at last, good or bad. */
  #seen = '';
  #keys: ReadonlyMap<string, KeyEntry> | undefined;
  #all: readonly KeyEntry[] = [];
  #version = 0;

  constructor(dataDirectory: string, logger: Logger) {
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
      seen = (await this.#seenNow()) ?? 'gone';
      if (seen === 'gone' && this.#keys === undefined) return;
      if (this.#seen === seen) return;
      const text = seen === 'gone' ? '' : await this.#text();
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

  /** Changes with every replacement of the file; undefined if there is none. */
  async #seenNow(): Promise<string | undefined> {
    try {
      const { mtimeNs, ino, size } = await stat(this.#path, { bigint: true });
      return `${mtimeNs}-${ino}-${size}`;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw unreadable(this.#path, error);
    }
  }

  async #text(): Promise<string> {
    try {
      return await readFile(this.#path, 'utf8');
    } catch (error) {
      throw unreadable(this.#path, error);
    }
  }
}

function unreadable(path: string, error: unknown): MillraceError {
  return fault('BAD_KEYS_FILE', { seen: path, reason: messageOf(error) }, error);
}
