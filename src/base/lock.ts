import { DatabaseSync } from 'node:sqlite';
import { fault } from './errors.ts';

/**
 * A lock on a file that the operating system frees when its holder dies, however it dies.
 * Node has no file locks of its own; SQLite's exclusive lock is one (decision 0003).
 */
export class DirectoryLock {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /**
   * Takes the lock at `path`, waiting up to `waitMs` while another process holds it.
   * @throws LOCKED with `holder` as its text
   */
  static take(path: string, holder: () => string, waitMs = 0): DirectoryLock {
    const database = new DatabaseSync(path, { timeout: waitMs });
    try {
      database.exec('PRAGMA journal_mode=MEMORY; PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE');
    } catch (error) {
      database.close();
      const busy = (error as { errcode?: number }).errcode === 5;
      throw busy ? fault('LOCKED', { seen: path, holder: holder() }, error) : error;
    }
    return new DirectoryLock(database);
  }

  release(): void {
    this.#database.close();
  }
}
