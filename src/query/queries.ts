import { fault, limits } from '../base/index.ts';
import type { DuckReader, RowSet, Store } from '../store/index.ts';
import { type Format, writeRows } from './formats.ts';

/** Runs users' queries, a bounded number at once. */
export class Queries {
  readonly #store: Store;
  #running = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * Runs one query. The pieces of its answer are made as they are asked for.
   * @throws QUERY_REFUSED, QUERY_FAILED, QUERY_BUSY before the first piece; QUERY_FAILED and
   *   QUERY_TIMEOUT also while they are made.
   */
  async run(sql: string, format: Format): Promise<AsyncGenerator<string>> {
    if (this.#running >= limits.queriesMax) throw fault('QUERY_BUSY', { seen: this.#running });
    this.#running += 1;
    let reader: DuckReader | undefined;
    try {
      reader = await this.#store.reader();
      const deadline = new Deadline(reader);
      const set = await deadline.watch(reader.select(sql));
      return this.#pieces(reader, deadline, set, format);
    } catch (error) {
      this.#end(reader);
      throw error;
    }
  }

  async *#pieces(
    reader: DuckReader,
    deadline: Deadline,
    set: RowSet,
    format: Format,
  ): AsyncGenerator<string> {
    const pieces = writeRows(set, format);
    try {
      for (;;) {
        const { done, value } = await deadline.watch(pieces.next());
        if (done) return;
        yield value;
      }
    } finally {
      deadline.clear();
      this.#end(reader);
    }
  }

  #end(reader: DuckReader | undefined): void {
    this.#running -= 1;
    reader?.close();
  }
}

/** Interrupts a query whose time is over, and says so instead of the engine's own words. */
class Deadline {
  readonly #timer: NodeJS.Timeout;
  #isOver = false;

  constructor(reader: DuckReader) {
    this.#timer = setTimeout(() => {
      this.#isOver = true;
      reader.interrupt();
    }, limits.queryTimeoutMs);
  }

  async watch<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      this.clear();
      throw this.#isOver ? fault('QUERY_TIMEOUT', { seen: limits.queryTimeoutMs / 1000 }) : error;
    }
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}
