import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { type ChildConfig, openEdge } from '../../src/app.ts';
import { type Mark, Metrics, nodeDisk, type Disk } from '../../src/base/index.ts';
import { type Tools, toolsOf } from '../../src/tools.ts';
import { configOf } from './config.ts';

type Link = Parameters<typeof openEdge>[2];

type Held = Partial<Pick<Tools, 'disk' | 'clock' | 'ids' | 'segmentBytes'>> & {
  readonly config?: Partial<ChildConfig>;
  /** What an event waits for whose sender waits for its row. */
  readonly settle?: Link['settle'];
  readonly explain?: Link['explain'];
};

/** An edge in this process, over a disk and before a store that a test holds up. */
export class HeldEdge implements AsyncDisposable {
  readonly #rooms: Awaited<ReturnType<typeof openEdge>>;
  readonly #door = createServer({ allowHalfOpen: true }, (socket) => this.connect(socket));
  readonly #metrics: Metrics;

  private constructor(rooms: Awaited<ReturnType<typeof openEdge>>, metrics: Metrics) {
    this.#rooms = rooms;
    this.#metrics = metrics;
  }

  static async open(data: string, held: Held): Promise<HeldEdge> {
    const unknown = () => Promise.resolve(undefined);
    const { settle = unknown, explain = unknown, config: changed, ...seams } = held;
    const config = { ...configOf(data), ...changed };
    const metrics = new Metrics('held');
    const link = { durable: () => undefined, explain, settle };
    const tools = { ...toolsOf(config, 'held'), ...seams, metrics };
    const edge = new HeldEdge(await openEdge(config, 0, link, tools), metrics);
    edge.#door.listen(0, '127.0.0.1');
    await once(edge.#door, 'listening');
    return edge;
  }

  get url(): string {
    const { port } = this.#door.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  /** How far its log is on disk. */
  get mark(): Mark {
    return this.#rooms.log.mark;
  }

  connect(connection: Duplex): void {
    this.#rooms.edge.connect(connection);
  }

  /** @param name without `millrace_`. */
  async metric(name: string): Promise<number> {
    const all = (await this.#metrics.snapshot()) as { name: string; values: { value: number }[] }[];
    return all.find((one) => one.name === `millrace_${name}`)?.values[0]?.value ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#door.close();
    await this.#rooms.close();
  }
}

/** The real disk, on which writes can be held up. */
export class HeldDisk {
  #gate: PromiseWithResolvers<void> | undefined;

  readonly disk: Disk = {
    ...nodeDisk,
    create: async (path) => {
      const file = await nodeDisk.create(path);
      return {
        write: async (bytes, position) => {
          await this.#gate?.promise;
          await file.write(bytes, position);
        },
        truncate: (size) => file.truncate(size),
        close: () => file.close(),
      };
    },
  };

  hold(): void {
    this.#gate = Promise.withResolvers();
  }

  release(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }
}
