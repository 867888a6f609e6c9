import { DatabaseSync } from 'node:sqlite';
import { fault } from './fault.ts';
import { sleep } from './sleep.ts';

const retryEveryMs = 20;

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
   * Takes the lock at `path`, trying for `waitMs` while somebody else holds it.
   * @throws LOCKED with `holder` as its text
   */
  static async take(path: string, holder: () => string, waitMs = 0): Promise<DirectoryLock> {
    for (let waitedMs = 0; ; waitedMs += retryEveryMs) {
      const database = new DatabaseSync(path);
      try {
        database.exec('PRAGMA journal_mode=MEMORY; PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE');
        return new DirectoryLock(database);
      } catch (error) {
        database.close();
        if ((error as { errcode?: number }).errcode !== 5) throw error;
        if (waitedMs >= waitMs) throw fault('LOCKED', { seen: path, holder: holder() }, error);
      }
      await sleep(retryEveryMs);
    }
  }

  release(): void {
    this.#database.close();
  }
}
