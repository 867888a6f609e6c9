import { createLogger, Metrics, nodeDisk, randomIds, systemClock } from '../../src/base/index.ts';
import { encodeSubmission, fingerprintOf, type Submission } from '../../src/event/index.ts';
import { createKey, KeyRing, listKeys } from '../../src/keys/index.ts';
import { Loader } from '../../src/loader/index.ts';
import { Log, LogReader, shardDirectory } from '../../src/log/index.ts';
import { openStore, type Plain, type Store } from '../../src/store/index.ts';

/* The loader between the real log and the real store, in one process. */

export const receivedAtMs = 1_700_000_000_000;
export const kept = { quarantineBytes: 2 ** 30, quarantineDays: 36_500 };
const logger = createLogger('silent', 'test');

/** Whether what was loaded is kept, and how long a segment is. */
export type RawParts = { readonly rawDays?: number; readonly segmentBytes?: number };

function fail(error: unknown): void {
  throw error;
}

/** Log, store and loader over one data directory. */
export class Line {
  readonly data: string;
  readonly key: string;
  readonly log: Log;
  store: Store;
  loader: Loader;
  #rawDays: number | undefined;

  private constructor(parts: {
    data: string;
    key: string;
    log: Log;
    store: Store;
    loader: Loader;
  }) {
    this.data = parts.data;
    this.key = parts.key;
    this.log = parts.log;
    this.store = parts.store;
    this.loader = parts.loader;
  }

  static async open(
    data: string,
    wrap: (store: Store) => Store = (store) => store,
    bounds = kept,
    raw: RawParts = {},
  ): Promise<Line> {
    const { key } = await createKey(data, { database: 'shop' }, randomIds, receivedAtMs);
    const log = await openLog(data, 0, raw.segmentBytes);
    const store = wrap(await openStore(data, bounds));
    const loader = await openLoader(data, store, [0], fail, raw.rawDays);
    const line = new Line({ data, key, log, store, loader });
    line.#rawDays = raw.rawDays;
    return line;
  }

  async append(body: string, to: { table?: string; database?: string; key?: string } = {}) {
    const { table, database, key } = to;
    const group = { table, database, bodies: [body] };
    return this.submit([group], key === undefined ? {} : { fingerprint: fingerprintOf(key) });
  }

  /** Appends the events of one request. */
  async submit(
    groups: readonly {
      readonly database?: string | undefined;
      readonly table?: string | undefined;
      readonly bodies: readonly string[];
    }[],
    parts: Partial<Omit<Submission, 'groups'>> = {},
    log = this.log,
  ) {
    const submission: Submission = {
      dialect: 'postback',
      receivedAtMs,
      fingerprint: fingerprintOf(this.key),
      context: {},
      groups: groups.map(({ database = 'shop', table = 'orders', bodies }) => {
        return { database, table, bodies: bodies.map((body) => Buffer.from(body)) };
      }),
      ...parts,
    };
    return log.append(encodeSubmission(submission));
  }

  flush(): Promise<void> {
    return this.loader.flush(new Map([[0, this.log.mark]]));
  }

  async rows(sql: string): Promise<readonly (readonly Plain[])[]> {
    const reader = await this.store.reader();
    try {
      const { rows } = await reader.select(sql);
      const all: (readonly Plain[])[] = [];
      for await (const some of rows) all.push(...some);
      return all;
    } finally {
      reader.close();
    }
  }

  /** Of the file, in its order. */
  keys(): ReturnType<typeof listKeys> {
    return listKeys(this.data);
  }

  /** Closes loader and store and opens them again on what is on disk. */
  async reopen(): Promise<void> {
    await this.loader.close();
    await this.store.close();
    await this.openAgain();
  }

  async openAgain(reserveBytes = 0): Promise<void> {
    this.store = await openStore(this.data, kept);
    this.loader = await openLoader(this.data, this.store, [0], fail, this.#rawDays, reserveBytes);
  }

  async close(): Promise<void> {
    await this.log.close();
    await this.loader.close();
    await this.store.close();
  }
}

export function openLog(data: string, shard: number, segmentBytes?: number): Promise<Log> {
  return Log.open({
    disk: nodeDisk,
    clock: systemClock,
    ids: randomIds,
    directory: shardDirectory(data, shard),
    reserveBytes: 0,
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
    onFatal: fail,
  });
}

export async function openLoader(
  data: string,
  store: Store,
  shards = [0],
  onFatal: (error: unknown) => void = fail,
  rawDays?: number,
  reserveBytes = 0,
): Promise<Loader> {
  const readers = new Map<number, LogReader>();
  for (const shard of shards) {
    readers.set(shard, await LogReader.open(nodeDisk, shardDirectory(data, shard)));
  }
  return Loader.open({
    disk: nodeDisk,
    dataDirectory: data,
    reserveBytes,
    rawDays,
    store,
    readers,
    keys: new KeyRing(nodeDisk, data, logger),
    clock: systemClock,
    logger,
    metrics: new Metrics('test'),
    onFatal,
  });
}

/** The same store with some of its methods replaced. */
export function twin(store: Store, replaced: Partial<Store>): Store {
  return new Proxy(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(name in replaced ? replaced : target, name);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
