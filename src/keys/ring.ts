import { readFile, stat } from 'node:fs/promises';
import { type Logger, messageOf } from '../base/index.ts';
import type { KeyEntry } from './entry.ts';
import { keysPath, parseKeys } from './file.ts';

/** The keys in memory, by fingerprint. */
export class KeyRing {
  readonly #path: string;
  readonly #logger: Logger;
  /** The version of the file that was looked at last, good or bad. */
  #seen = '';
  #keys: ReadonlyMap<string, KeyEntry> | undefined;

  constructor(dataDirectory: string, logger: Logger) {
    this.#path = keysPath(dataDirectory);
    this.#logger = logger;
  }

  /**
   * Reads the file again if it was changed. One that is bad or gone leaves the last good one in
   * force; a missing one at the start is one without keys.
   * @throws BAD_KEYS_FILE when there was no good one yet: without keys every event looks unknown;
   *   what the system says when the file cannot be read
   */
  async refresh(): Promise<void> {
    const version = await this.#version();
    if (version === undefined && this.#keys === undefined) return;
    if (this.#seen === (version ?? 'gone')) return;
    const text = version === undefined ? '' : await readFile(this.#path, 'utf8');
    try {
      const keys = parseKeys(this.#path, text);
      this.#keys = new Map(keys.map((key) => [key.fingerprint, key]));
    } catch (error) {
      if (this.#keys === undefined) throw error;
      const message = 'keys.json is not readable: the last good one stays in force';
      this.#logger.error({ path: this.#path, error: messageOf(error) }, message);
    }
    this.#seen = version ?? 'gone';
  }

  /** The key with a fingerprint (hexadecimal), revoked or not. */
  find(fingerprint: string): KeyEntry | undefined {
    return this.#keys?.get(fingerprint);
  }

  /** Changes with every replacement of the file; undefined if there is none. */
  async #version(): Promise<string | undefined> {
    try {
      const { mtimeNs, ino, size } = await stat(this.#path, { bigint: true });
      return `${mtimeNs}-${ino}-${size}`;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }
}
