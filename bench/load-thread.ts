import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { createKey, type TestServer } from '../test/support/server.ts';
import type { Phase, PhaseResult, Target } from './load.ts';

type Options = Pick<Target, 'connections'> & Partial<Pick<Target, 'eventsPerRequest' | 'tables'>>;

/** The thread that sends, so that measuring does not hold it up. */
export class LoadThread {
  readonly #worker: Worker;
  readonly #failure: Promise<never>;

  private constructor(worker: Worker) {
    this.#worker = worker;
    this.#failure = once(worker, 'error').then(([error]) => {
      throw error;
    });
    this.#failure.catch(() => undefined);
  }

  static async start(server: TestServer, options: Options): Promise<LoadThread> {
    const { hostname: host, port } = new URL(server.ingest);
    const key = await createKey(server.data, 'bench');
    return LoadThread.open({ host, port: Number(port), key, ...options });
  }

  /** For any server that takes such requests. */
  static async open(target: Options & Pick<Target, 'host' | 'port' | 'key'>): Promise<LoadThread> {
    const workerData: Target = { eventsPerRequest: 1, tables: ['events'], ...target };
    const worker = new Worker(new URL('load.ts', import.meta.url), { workerData });
    // Its first message: all connections are open.
    await once(worker, 'message');
    return new LoadThread(worker);
  }

  async run(phase: Phase): Promise<PhaseResult> {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
    this.#worker.postMessage(phase);
    const answer = once(this.#worker, 'message') as Promise<[PhaseResult]>;
    const [result] = await Promise.race([answer, this.#failure]);
    return result;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
