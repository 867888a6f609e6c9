import { readFile, stat } from 'node:fs/promises';
import { type Logger, messageOf } from '../base/index.ts';
import type { KeyEntry } from './entry.ts';
import { keysPath, parseKeys } from './file.ts';

/** The keys in memory, by fingerprint. */
export class KeyRing {
  readonly #path: string;
  readonly #logger: Logger;
  #seen = '';
  #keys: ReadonlyMap<string, KeyEntry> = new Map();

  constructor(dataDirectory: string, logger: Logger) {
    this.#path = keysPath(dataDirectory);
    this.#logger = logger;
  }

  /** Reads the file again if it was changed. Never throws: a bad file keeps the last good one. */
  async refresh(): Promise<void> {
    try {
      const { mtimeNs, ino, size } = await stat(this.#path, { bigint: true });
      const seen = `${mtimeNs}-${ino}-${size}`;
      if (seen === this.#seen) return;
      this.#seen = seen;
      const keys = parseKeys(this.#path, await readFile(this.#path, 'utf8'));
      this.#keys = new Map(keys.map((key) => [key.fingerprint, key]));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        this.#keys = new Map();
        this.#seen = '';
        return;
      }
      this.#logger.error(
        { path: this.#path, error: messageOf(error) },
        'keys file is not readable',
      );
    }
  }

  /** The key with a fingerprint (hexadecimal), revoked or not. */
  find(fingerprint: string): KeyEntry | undefined {
    return this.#keys.get(fingerprint);
  }
}
