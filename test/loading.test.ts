import { rm } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  createLogger,
  fault,
  Metrics,
  nodeDisk,
  randomIds,
  systemClock,
} from '../src/base/index.ts';
import { encodeEnvelope, fingerprintOf } from '../src/event/index.ts';
import { createKey, type KeyEntry, KeyRing, listKeys, revokeKey } from '../src/keys/index.ts';
import { Loader } from '../src/loader/index.ts';
import { Log, LogReader, shardDirectory } from '../src/log/index.ts';
import { openStore, type Plain, type Store } from '../src/store/index.ts';
import { temporaryDirectory } from './support/server.ts';

/* The loader between the real log and the real store, in one process. */

const receivedAtMs = 1_700_000_000_000;
const logger = createLogger('silent', 'test');

class Line {
  readonly data: string;
  readonly key: string;
  readonly log: Log;
  store: Store;
  loader: Loader;

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

  static async open(data: string, wrap: (store: Store) => Store = (store) => store): Promise<Line> {
    const { key } = await createKey(data, { database: 'shop' }, randomIds, receivedAtMs);
    const log = await Log.open({
      disk: nodeDisk,
      clock: systemClock,
      ids: randomIds,
      directory: shardDirectory(data, 0),
      reserveBytes: 0,
      onFatal: (error) => {
        throw error;
      },
    });
    const store = wrap(await openStore(data));
    const loader = await openLoader(data, store);
    return new Line({ data, key, log, store, loader });
  }

  async append(body: string, to: { table?: string; database?: string; key?: string } = {}) {
    const { table = 'orders', database = 'shop', key = this.key } = to;
    const fingerprint = fingerprintOf(key);
    const event = { database, table, fingerprint, receivedAtMs, body: Buffer.from(body) };
    return this.log.append(encodeEnvelope(event));
  }

  flush(): Promise<void> {
    return this.loader.flush(new Map([[0, this.log.durableOffset]]));
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

  /** Closes loader and store and opens them again on what is on disk. */
  async reopen(): Promise<void> {
    await this.loader.close();
    await this.store.close();
    this.store = await openStore(this.data);
    this.loader = await openLoader(this.data, this.store);
  }

  async close(): Promise<void> {
    await this.log.close();
    await this.loader.close();
    await this.store.close();
  }
}

async function openLoader(data: string, store: Store): Promise<Loader> {
  const reader = await LogReader.open(nodeDisk, shardDirectory(data, 0));
  return Loader.open({
    store,
    readers: new Map([[0, reader]]),
    keys: new KeyRing(data, logger),
    clock: systemClock,
    logger,
    metrics: new Metrics('test'),
    onFatal: (error) => {
      throw error;
    },
  });
}

describe('loading', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let line: Line;
  const open = async (wrap?: (store: Store) => Store) => {
    line = await Line.open(directory.path, wrap);
  };
  beforeEach(async () => {
    directory = await temporaryDirectory();
  });
  afterEach(async () => {
    await line.close();
    await directory.remove();
  });

  test('values keep their type, columns appear, misfits are rescued', async () => {
    await open();
    await line.append('{"param1":"value1","param2":1234}');
    await line.append('{"param2":"x","f":0.1,"b":true,"o":{"a": [1, 2.50]}}');
    await line.append('{"param2":9223372036854775807,"f":3}');
    await line.flush();
    expect(
      await line.rows('SELECT * EXCLUDE (time, _receipt) FROM shop.orders ORDER BY _receipt'),
    ).toEqual([
      ['value1', 1234, null, null, null, null],
      [null, null, 0.1, true, '{"a": [1, 2.50]}', '{"param2":"x"}'],
      [null, '9223372036854775807', 3, null, null, null],
    ]);
    expect(await line.rows('SELECT "column", type, rescued FROM millrace.columns')).toEqual([
      ['param1', 'VARCHAR', 0],
      ['param2', 'BIGINT', 1],
      ['f', 'DOUBLE', 0],
      ['b', 'BOOLEAN', 0],
      ['o', 'JSON', 0],
    ]);
  });

  test('BIGINT widens to DOUBLE when a fraction arrives, also after a restart', async () => {
    await open();
    await line.append('{"a":1,"b":9007199254740993}');
    await line.flush();
    await line.reopen();
    await line.append('{"a":1.5,"b":1.5}');
    await line.flush();
    expect(
      await line.rows('SELECT a, b, _rescued_data FROM shop.orders ORDER BY _receipt'),
    ).toEqual([
      [1, '9007199254740993', null],
      [1.5, null, '{"b":1.5}'],
    ]);
  });

  test('hard values arrive as they are', async () => {
    await open();
    const nestedTo = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    const values = ['"\\u0000"', '"\\ud83d\\ude00é\\n\\"\\\\"', `"${'x'.repeat(1_000_000)}"`, '""'];
    for (const value of values) await line.append(`{"s":${value}}`, { table: 'strings' });
    for (const depth of [500, 20_000]) {
      await line.append(`{"j":${nestedTo(depth)}}`, { table: 'nested' });
    }
    await line.append('{"j":{"a":1e999,"a":"\\u0000"}}', { table: 'nested' });
    await line.append('{"j":{"a":"\\ud800"}}', { table: 'nested' });
    await line.flush();
    const strings = await line.rows('SELECT s FROM shop.strings ORDER BY _receipt');
    expect(strings).toEqual(values.map((value) => [JSON.parse(value) as string]));
    const nested = await line.rows('SELECT j, _rescued_data FROM shop.nested ORDER BY _receipt');
    const parked = await line.rows('SELECT body FROM millrace.quarantine');
    expect(parked).toEqual([]);
    expect(nested).toEqual([
      [nestedTo(500), null],
      [null, `{"j":${nestedTo(20_000)}}`],
      ['{"a":1e999,"a":"\\u0000"}', null],
      [null, '{"j":{"a":"\\ud800"}}'],
    ]);
  });

  test('a wrong key, a key of another database and a revoked key lead to quarantine', async () => {
    await open();
    await line.append('{"a": 1}', { key: 'nobody' });
    await line.append('{"a":2}', { database: 'other' });
    await line.append('{"a":3}');
    await line.flush();
    const [{ id }] = (await listKeys(line.data)) as [KeyEntry];
    await revokeKey(line.data, id, receivedAtMs);
    await line.append('{"a":4}');
    await line.flush();
    expect(
      await line.rows("SELECT key_fingerprint FROM millrace.quarantine WHERE reason LIKE 'key%'"),
    ).toEqual(Array.from({ length: 2 }, () => [fingerprintOf(line.key).toString('hex')]));
    expect(
      await line.rows(
        `SELECT "database", "table", reason, body, received_at
         FROM millrace.quarantine ORDER BY receipt`,
      ),
    ).toEqual([
      ['shop', 'orders', 'unknown_key', '{"a": 1}', '2023-11-14 22:13:20'],
      ['other', 'orders', 'key_not_allowed', '{"a":2}', '2023-11-14 22:13:20'],
      ['shop', 'orders', 'key_revoked', '{"a":4}', '2023-11-14 22:13:20'],
    ]);
    expect(await line.rows('SELECT a FROM shop.orders')).toEqual([[3]]);
  });

  test('a key that was made just before its event is known', async () => {
    await open();
    for (let round = 0; round < 10; round += 1) {
      const { key } = await createKey(line.data, { database: 'late' }, randomIds, receivedAtMs);
      await line.append('{"a":1}', { database: 'late', key });
      await line.flush();
    }
    expect(await line.rows('SELECT count(*) FROM late.orders')).toEqual([[10]]);
  });

  test('one row that the engine cannot take goes to quarantine, the others do not', async () => {
    await open((store) => poisoned(store, 'poison'));
    for (let index = 0; index < 50; index += 1) {
      await line.append(index % 17 === 3 ? `{"s":"poison ${index}"}` : `{"s":"good ${index}"}`);
    }
    await line.append('{"s":"good"}', { table: 'others' });
    await line.flush();
    expect(await line.rows('SELECT count(*) FROM shop.orders')).toEqual([[47]]);
    expect(await line.rows('SELECT count(*) FROM shop.others')).toEqual([[1]]);
    expect(await line.rows('SELECT body, reason FROM millrace.quarantine ORDER BY body')).toEqual([
      ['{"s":"poison 20"}', 'unloadable'],
      ['{"s":"poison 3"}', 'unloadable'],
      ['{"s":"poison 37"}', 'unloadable'],
    ]);
    expect(await line.rows('SELECT rows FROM millrace.tables')).toEqual([[47], [1]]);
  });

  test('a commit that fails is tried again, and nothing is there twice', async () => {
    let failures = 3;
    await open((store) => failing(store, () => (failures -= 1) >= 0));
    await line.append('{"a":1}');
    await line.append('{"a":2}');
    await line.flush();
    expect(failures).toBeLessThan(0);
    expect(await line.rows('SELECT a FROM shop.orders ORDER BY a')).toEqual([[1], [2]]);
  });

  test('a log that was replaced is not loaded, and flush says so', async () => {
    await open();
    for (let index = 0; index < 50; index += 1) await line.append('{"a":1}');
    await line.flush();
    await line.loader.close();
    await line.store.close();
    await line.log.close();
    await rm(shardDirectory(line.data, 0), { recursive: true });
    line = await Line.open(directory.path);
    await line.append('{"a":2}');
    await expect(line.flush()).rejects.toMatchObject({ code: 'LOG_DAMAGED' });
    for (let index = 0; index < 100; index += 1) await line.append('{"a":2}');
    await expect(line.flush()).rejects.toMatchObject({ code: 'LOG_DAMAGED' });
    expect(line.loader.status().failing).toBe(true);
    expect(await line.rows('SELECT count(*) FROM shop.orders')).toEqual([[50]]);
  });

  test('what was loaded is not loaded again after a restart', async () => {
    await open();
    await line.append('{"a":1}');
    await line.flush();
    await line.reopen();
    await line.append('{"a":2}');
    await line.flush();
    expect(await line.rows('SELECT a, _receipt FROM shop.orders ORDER BY a')).toEqual([
      [1, '0-000000000000080'],
      [2, expect.stringMatching(/^0-\d+$/)],
    ]);
  });
});

/** A store whose engine fails on lines that hold a word. */
function poisoned(store: Store, word: string): Store {
  const isIn = (lines: readonly string[]) => lines.some((text) => text.includes(word));
  return twin(store, {
    commit: (batch) =>
      batch.tables.some(({ lines }) => isIn(lines)) ? failed() : store.commit(batch),
    accepts: (batch) => (isIn(batch.lines) ? Promise.resolve(false) : store.accepts(batch)),
  });
}

function failing(store: Store, mustFail: () => boolean): Store {
  return twin(store, { commit: (batch) => (mustFail() ? failed() : store.commit(batch)) });
}

function failed(): Promise<never> {
  return Promise.reject(fault('STORE_FAILED', { seen: 'the test says so' }));
}

/** The same store with some of its methods replaced. */
function twin(store: Store, replaced: Partial<Store>): Store {
  return {
    get cursors() {
      return store.cursors;
    },
    get tableCount() {
      return store.tableCount;
    },
    schema: (database, table) => store.schema(database, table),
    commit: (batch) => store.commit(batch),
    accepts: (batch) => store.accepts(batch),
    tables: () => store.tables(),
    quarantineCount: () => store.quarantineCount(),
    size: () => store.size(),
    reader: () => store.reader(),
    close: () => store.close(),
    ...replaced,
  };
}
