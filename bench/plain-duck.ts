import { availableParallelism } from 'node:os';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { limits } from '../src/base/index.ts';

/** DuckDB without the server around it, with the store's bounds of memory and threads. */
export class PlainDuck {
  readonly #instance: DuckDBInstance;
  readonly #connection: DuckDBConnection;

  private constructor(instance: DuckDBInstance, connection: DuckDBConnection) {
    this.#instance = instance;
    this.#connection = connection;
  }

  static async open(path = ':memory:'): Promise<PlainDuck> {
    const memory_limit = `${limits.storeMemoryBytesMax} B`;
    const threads = String(availableParallelism());
    const instance = await DuckDBInstance.create(path, { memory_limit, threads });
    return new PlainDuck(instance, await instance.connect());
  }

  async rows(sql: string): Promise<readonly (readonly unknown[])[]> {
    return (await this.#connection.runAndReadAll(sql)).getRowsJson();
  }

  close(): void {
    this.#connection.closeSync();
    this.#instance.closeSync();
  }
}
