import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fault, randomIds } from '../src/base/index.ts';
import { fingerprintOf } from '../src/event/index.ts';
import { createKey, type KeyEntry, listKeys, revokeKey } from '../src/keys/index.ts';
import { shardDirectory } from '../src/log/index.ts';
import { openStore, type Store, type TableBatch } from '../src/store/index.ts';
import { kept, Line, openLoader, openLog, receivedAtMs, twin } from './support/line.ts';
import { temporaryDirectory } from './support/server.ts';

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

  test('the first event of a table decides, whoever sent it and in whatever form', async () => {
    await open();
    const { key: other } = await createKey(
      line.data,
      { database: 'shop' },
      randomIds,
      receivedAtMs,
    );
    const forms = {
      VARCHAR: (table: string) => line.append('{"v":"text"}', { table }),
      BIGINT: (table: string) => line.append('{"v":1}', { table, key: other }),
      BOOLEAN: (table: string) => line.submit([{ table, bodies: ['{"v":true}', '{"v":false}'] }]),
    };
    const orders = [
      ['VARCHAR', 'BIGINT', 'BOOLEAN'],
      ['VARCHAR', 'BOOLEAN', 'BIGINT'],
      ['BIGINT', 'VARCHAR', 'BOOLEAN'],
      ['BIGINT', 'BOOLEAN', 'VARCHAR'],
      ['BOOLEAN', 'VARCHAR', 'BIGINT'],
      ['BOOLEAN', 'BIGINT', 'VARCHAR'],
    ] as const;
    for (const turn of [0, 1, 2] as const) {
      for (const order of orders) await forms[order[turn]](order.join('_').toLowerCase());
    }
    await line.flush();
    const found = await line.rows('SELECT "table", type FROM millrace.columns');
    expect(new Map(found as [string, string][])).toEqual(
      new Map(orders.map((order) => [order.join('_').toLowerCase(), order[0]])),
    );
    for (const order of orders) {
      const rows = await line.rows(`SELECT v::VARCHAR FROM shop.${order.join('_').toLowerCase()}`);
      expect(rows).toHaveLength(4);
    }
  });

  test('the events of one request stand or fall together', async () => {
    await open();
    await line.append('{"id":0}');
    const last = await line.submit([
      { bodies: ['{"id":1}', '{"id":2}'] },
      { bodies: ['{"id":3}'] },
    ]);
    expect(last).toBeDefined();
    await line.flush();
    expect(await line.rows('SELECT id FROM shop.orders ORDER BY _receipt')).toEqual([
      [0],
      [1],
      [2],
      [3],
    ]);
    const receipts = await line.rows('SELECT count(DISTINCT _receipt) FROM shop.orders');
    expect(receipts).toEqual([[4]]);
  });

  describe('repeats', () => {
    const minute = 60_000;
    const keyed = (id: string, body: string, ageMs = 0) =>
      line.submit([{ bodies: [body] }], {
        context: { idempotencyKey: id },
        receivedAtMs: receivedAtMs - ageMs,
      });
    const state = async () => {
      await line.flush();
      const rows = await line.rows('SELECT id FROM shop.orders ORDER BY _receipt');
      const tables = await line.rows('SELECT rows, duplicates FROM millrace.tables');
      const parked = await line.rows('SELECT reason, body FROM millrace.quarantine');
      return { ids: rows.flat(), tables: tables.flat(), parked };
    };

    test('a repeat is recognized after a restart', async () => {
      await open();
      await keyed('once', '{"id":1}');
      await line.flush();
      await line.reopen();
      await keyed('once', '{"id":1}');
      await keyed('once', '{"id":2}');
      await keyed('twice', '{"id":3}');
      expect(await state()).toEqual({
        ids: [1, 3],
        tables: [2, 1],
        parked: [['id_reused', '{"id":2}']],
      });
    });

    test('a repeat of an event that was refused is none', async () => {
      await open();
      const context = { idempotencyKey: 'once' };
      const fingerprint = fingerprintOf('nobody has made this one');
      await line.submit([{ bodies: ['{"id":1}'] }], { context, fingerprint });
      await line.flush();
      await keyed('once', '{"id":1}');
      expect(await state()).toEqual({
        ids: [1],
        tables: [1, 0],
        parked: [['unknown_key', '{"id":1}']],
      });
    });

    test('ids are not forgotten while an older log may be waiting', async () => {
      await open();
      await keyed('a', '{"id":1}', 200 * minute);
      await line.flush();
      await line.loader.close();
      const other = await openLog(directory.path, 1);
      line.loader = await openLoader(directory.path, line.store, [0, 1]);
      const context = { idempotencyKey: 'a' };
      const receivedLong = { receivedAtMs: receivedAtMs - 140 * minute };
      await line.submit([{ bodies: ['{"id":1}'] }], { context, ...receivedLong }, other);
      // The other shard's edge has said nothing yet, as after a restart.
      await keyed('b', '{"id":2}');
      await line.flush();
      await line.loader.flush(new Map([[1, other.mark]]));
      await other.close();
      expect(await state()).toEqual({ ids: [1, 2], tables: [2, 1], parked: [] });
    });

    test('an event that could not be loaded leaves no id', async () => {
      await open((store) => poisoned(store, 'poison'));
      await keyed('a', '{"id":1}');
      for (let count = 0; count < 2; count += 1) await keyed('p', '{"id":2,"text":"poison"}');
      expect(await state()).toEqual({
        ids: [1],
        tables: [1, 1],
        parked: [['unloadable', '{"id":2,"text":"poison"}']],
      });
      await keyed('p', '{"id":2,"text":"poison"}');
      const { tables, parked } = await state();
      expect({ tables, parked: parked.length }).toEqual({ tables: [1, 1], parked: 2 });
    });

    test('ids are kept for two hours of receipt', async () => {
      await open();
      // However long the log has waited: what counts is when events were received.
      await keyed('a', '{"id":1}', 200 * minute);
      await line.flush();
      await keyed('a', '{"id":1}', 81 * minute);
      await keyed('b', '{"id":2}', 80 * minute);
      await line.flush();
      await keyed('c', '{"id":3}', 70 * minute);
      await line.flush();
      await keyed('a', '{"id":1}', 70 * minute);
      await keyed('b', '{"id":2}');
      expect(await state()).toEqual({ ids: [1, 2, 3, 1], tables: [4, 2], parked: [] });
    });
  });

  test('a store of the first version gets what it lacks', async () => {
    await open();
    await line.append('{"id":1}');
    await line.flush();
    await line.loader.close();
    await line.store.close();
    const duck = await DuckDBInstance.create(join(directory.path, 'store/millrace-1.duckdb'));
    const connection = await duck.connect();
    await connection.run('DROP VIEW millrace.auth_failures');
    await connection.run('DROP VIEW millrace.tables');
    await connection.run(`CREATE VIEW millrace.tables AS
      SELECT "database", name AS "table", rows, created_at FROM mr.tables`);
    await connection.run('DROP TABLE mr.ids');
    await connection.run('ALTER TABLE mr.tables DROP COLUMN duplicates');
    for (const view of ['ledger', 'time_report', 'quarantine']) {
      await connection.run(`DROP VIEW millrace.${view}`);
    }
    for (const table of ['ledger', 'skew', 'dropped', 'parked']) {
      await connection.run(`DROP TABLE mr.${table}`);
    }
    await connection.run(`CREATE TABLE millrace.quarantine (
      receipt VARCHAR, received_at TIMESTAMP, "database" VARCHAR, "table" VARCHAR, reason VARCHAR,
      key_fingerprint VARCHAR, body VARCHAR)`);
    await connection.run(`INSERT INTO millrace.quarantine VALUES ('0-000000000000064',
      TIMESTAMP '2026-11-01 12:00:00', 'shop', 'orders', 'unknown_key', repeat('0', 64), '{}')`);
    connection.closeSync();
    duck.closeSync();
    line.store = await openStore(directory.path, kept);
    line.loader = await openLoader(directory.path, line.store);
    await line.submit([{ bodies: ['{"id":2}', '{"id":3}'] }]);
    await line.append('{"id":4}', { key: 'nobody has made this one' });
    await line.flush();
    expect(await line.rows('SELECT id FROM shop.orders ORDER BY id')).toEqual([[1], [2], [3]]);
    expect(await line.rows('SELECT rows, duplicates FROM millrace.tables')).toEqual([[3, 0]]);
    expect(await line.rows('SELECT dialect, context FROM millrace.quarantine')).toEqual([
      ['postback', '{}'],
      ['postback', '{}'],
    ]);
    expect(await line.store.books.audit()).toEqual({ events: 0, where: [] });
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

/** A store whose engine fails on rows that hold a word. */
function poisoned(store: Store, word: string): Store {
  const isIn = ({ rows }: TableBatch) => {
    return rows.cells().some((cells) => cells.some((cell) => String(cell).includes(word)));
  };
  return twin(store, {
    commit: (batch) => (batch.tables.some(isIn) ? failed() : store.commit(batch)),
    accepts: (batch) => (isIn(batch) ? Promise.resolve(false) : store.accepts(batch)),
  });
}

function failing(store: Store, mustFail: () => boolean): Store {
  return twin(store, { commit: (batch) => (mustFail() ? failed() : store.commit(batch)) });
}

function failed(): Promise<never> {
  return Promise.reject(fault('STORE_FAILED', { seen: 'the test says so' }));
}
