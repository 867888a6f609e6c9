import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createKey, type TestServer } from '../test/support/server.ts';
import type { AbuseTarget, Ended, Kind, Order } from './abuse.ts';

/** The process that asks for too much. */
export class Abusers {
  readonly #child: ChildProcess;
  readonly #failure: Promise<never>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#failure = once(child, 'exit').then(() => {
      throw new Error('the process of the abusers ended');
    });
    this.#failure.catch(() => undefined);
  }

  static async start(server: TestServer): Promise<Abusers> {
    const { hostname: host, port } = new URL(server.ingest);
    const key = await createKey(server.data, 'bench');
    const target: AbuseTarget = { host, port: Number(port), key };
    const script = fileURLToPath(new URL('abuse.ts', import.meta.url));
    return new Abusers(fork(script, [JSON.stringify(target)], { serialization: 'advanced' }));
  }

  /** Resolves when all are connected, and do what they do. */
  async begin(kind: Kind, connections: number): Promise<void> {
    await this.#ask({ do: 'begin', kind, connections });
  }

  /** Resolves when all have their last answers. */
  end(): Promise<Ended> {
    return this.#ask({ do: 'end' }) as Promise<Ended>;
  }

  /** What became of each id. */
  outcomes(): Promise<Uint8Array> {
    return this.#ask({ do: 'tell' }) as Promise<Uint8Array>;
  }

  close(): void {
    this.#child.kill();
  }

  async #ask(order: Order): Promise<unknown> {
    this.#child.send(order);
    const [answer] = await Promise.race([once(this.#child, 'message'), this.#failure]);
    return answer;
  }
}
