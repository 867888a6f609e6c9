import { limits } from '../base/index.ts';
import type { Receipt } from '../event/index.ts';
import type { DuckWriter, Plain } from './duckdb.ts';
import type { Account, Books, Entry, KeyUsage, Remainder, SkewCount } from './types.ts';

/** The counts of `mr.ledger`, in its order. */
export const ledgerColumns = [
  'received',
  'committed',
  'quarantined',
  'deduplicated',
  'expired',
  'dropped',
] as const;

/** How the ledger calls rows that are gone. */
export type Gone = 'expired' | 'dropped' | 'deduplicated';

const minutesOfDay = 24 * 60;
const account = 'minute, "database", "table", key_id';
const placesMax = 20;
/** What a line of the ledger takes, about. */
const lineBytes = 200;

/** `mr.ledger` and `mr.skew`: only ever added to, and merged. */
export class DuckBooks implements Books {
  readonly #writer: DuckWriter;
  readonly #reader: DuckWriter;
  /** Its own connection: a transaction must not lend its snapshot to other readers. */
  readonly #live: DuckWriter;
  readonly #mustHaveRoom: (bytes: number) => Promise<void>;
  /** Lines of the ledger when it was merged last. */
  #merged = 0;
  /** The table that was counted last, and those that were wrong when they were. */
  #counted = 0;
  readonly #wrong = new Map<number, Wrong>();

  /** @param mustHaveRoom throws STORE_NO_ROOM unless a transaction of so many bytes has it. */
  constructor(
    writer: DuckWriter,
    reader: DuckWriter,
    live: DuckWriter,
    mustHaveRoom: (bytes: number) => Promise<void>,
  ) {
    this.#writer = writer;
    this.#reader = reader;
    this.#live = live;
    this.#mustHaveRoom = mustHaveRoom;
  }

  /** As part of the open transaction. */
  async add(entries: readonly Entry[], skew: readonly SkewCount[]): Promise<void> {
    const rows = entries.map((entry) => [
      BigInt(entry.minute),
      entry.database,
      entry.table,
      entry.keyId,
      ...ledgerColumns.map((name) => BigInt(entry[name])),
    ]);
    if (rows.length > 0) await this.#writer.append('mr', 'ledger', rows);
    const counts = skew.map(({ day, keyId, bucket, events }) => {
      return [BigInt(day), keyId, BigInt(bucket), BigInt(events)];
    });
    if (counts.length > 0) await this.#writer.append('mr', 'skew', counts);
  }

  /** As part of the open transaction: the rows of a table are gone. */
  async drop(database: string, table: string): Promise<void> {
    await this.#writer.run(`INSERT INTO mr.ledger
      SELECT ${account}, 0, -sum(committed), 0, 0, 0, sum(committed) FROM mr.ledger
      WHERE "database" = '${database}' AND "table" = '${table}'
      GROUP BY ${account} HAVING sum(committed) <> 0`);
  }

  /** As part of the open transaction: so many rows of a table are gone, the oldest lines first. */
  async remove(database: string, table: string, rows: number, as: Gone): Promise<void> {
    await this.#take('committed', `"database" = '${database}' AND "table" = '${table}'`, rows, as);
    await this.#writer.run(`UPDATE mr.tables SET rows = rows - ${rows}
      WHERE "database" = '${database}' AND name = '${table}'`);
  }

  /** As part of the open transaction: so many events are not in quarantine any more. */
  removeParked(events: number): Promise<void> {
    return this.#take('quarantined', 'true', events, 'dropped');
  }

  /** Moves events from one column to another, the oldest lines first. */
  async #take(from: string, where: string, events: number, to: Gone): Promise<void> {
    const counts = ledgerColumns.map((name) => {
      return name === from ? '-gone' : name === to ? 'gone' : '0';
    });
    await this.#writer.run(`INSERT INTO mr.ledger
      SELECT ${account}, ${counts.join(', ')} FROM (
        SELECT ${account},
          least(n, greatest(0, ${events} - (sum(n) OVER oldest - n)))::BIGINT AS gone
        FROM (SELECT ${account}, sum(${from}) AS n FROM mr.ledger
          WHERE ${where} GROUP BY ${account})
        WINDOW oldest AS (ORDER BY minute, ${account} ROWS UNBOUNDED PRECEDING))
      WHERE gone > 0`);
  }

  async audit(): Promise<Remainder> {
    const lines = await this.#reader.all(`
      SELECT strftime(epoch_ms(minute * 60000), '%Y-%m-%d %H:%M') || ' ' || "database" || '.' ||
        "table" || ' ' || key_id AS place,
        sum(received - committed - quarantined - deduplicated - expired - dropped)::BIGINT AS amount
      FROM mr.ledger GROUP BY ${account} HAVING amount <> 0
      UNION ALL
      SELECT 'quarantine', (SELECT coalesce(sum(quarantined), 0)::BIGINT FROM mr.ledger)
        - (SELECT count(*) FROM mr.parked) AS amount WHERE amount <> 0
      UNION ALL
      SELECT t."database" || '.' || t.name, coalesce(l.committed, 0)::BIGINT - t.rows AS amount
      FROM mr.tables t LEFT JOIN (
        SELECT "database", "table" AS name, sum(committed) AS committed FROM mr.ledger
        GROUP BY ALL) l USING ("database", name) WHERE amount <> 0`);
    const rows = await this.#auditRows();
    const all = [...lines.map(wrongOf), ...rows];
    const events = all.reduce((sum, { amount }) => sum + Math.abs(amount), 0);
    return { events, where: all.slice(0, placesMax).map(({ place }) => place) };
  }

  /** Tables that do not hold the rows that they are said to: some are counted at each call. */
  async #auditRows(): Promise<readonly Wrong[]> {
    const tables = await this.#reader.all(`
      SELECT id FROM mr.tables WHERE id > ${this.#counted}
      ORDER BY id LIMIT ${limits.auditTablesMax}`);
    const ids = tables.map(({ id }) => Number(id));
    const isEnd = ids.length < limits.auditTablesMax;
    const last = isEnd ? Infinity : (ids.at(-1) ?? 0);
    // What was found wrong stays so until it is counted again, or dropped.
    for (const id of this.#wrong.keys()) {
      if (id > this.#counted && id <= last) this.#wrong.delete(id);
    }
    this.#counted = isEnd ? 0 : last;
    if (ids.length === 0) return [...this.#wrong.values()];
    const counts = ids.map((id) => `SELECT ${id} AS id, count(*) AS n FROM mr.hot_${id}`);
    const sealed = await this.#reader.all(`
      SELECT table_name FROM duckdb_tables()
      WHERE schema_name = 'mr' AND starts_with(table_name, 'sealed_')`);
    for (const { table_name: name } of sealed) {
      const id = Number((name as string).slice('sealed_'.length));
      if (ids.includes(id)) counts.push(`SELECT ${id}, count(*) FROM mr.sealed_${id}`);
    }
    const found = await this.#reader.all(`
      WITH parts AS (${counts.join(' UNION ALL ')}
        UNION ALL SELECT table_id, 1 FROM mr.fresh WHERE table_id IN (${ids.join(', ')})
        UNION ALL SELECT table_id, rows FROM mr.files WHERE table_id IN (${ids.join(', ')})),
      counts AS (SELECT id, sum(n)::BIGINT AS n FROM parts GROUP BY id)
      SELECT id, 'rows of ' || "database" || '.' || name AS place, rows - n AS amount
      FROM mr.tables JOIN counts USING (id) WHERE amount <> 0`);
    for (const row of found) this.#wrong.set(Number(row.id), wrongOf(row));
    return [...this.#wrong.values()];
  }

  async compact(nowMs: number, linesMin: number = limits.ledgerLinesMin): Promise<void> {
    const rows = await this.#reader.all(`SELECT count(*) AS n FROM mr.ledger`);
    if (Number(rows[0]?.n) < Math.max(linesMin, 2 * this.#merged)) return;
    const nowMinute = Math.floor(nowMs / 60_000);
    const daysBefore = nowMinute - limits.ledgerHoursKept * 60;
    const hoursBefore = nowMinute - limits.ledgerMinutesKept;
    const sums = ledgerColumns.map((name) => `sum(${name})::BIGINT AS ${name}`).join(', ');
    const floorTo = (minutes: number) => `minute // ${minutes} * ${minutes}`;
    const minute = `CASE WHEN minute < ${daysBefore} THEN ${floorTo(minutesOfDay)}
      WHEN minute < ${hoursBefore} THEN ${floorTo(60)} ELSE minute END`;
    const skewFrom = Math.floor(nowMinute / minutesOfDay) - limits.skewDaysKept;
    await this.#mustHaveRoom(Number(rows[0]?.n) * lineBytes);
    await this.#writer.transact(async () => {
      await this.#merge(
        'ledger',
        `SELECT ${minute} AS minute, "database", "table", key_id, ${sums}
        FROM mr.ledger GROUP BY ALL`,
      );
      await this.#merge(
        'skew',
        `SELECT day, key_id, bucket, sum(events)::BIGINT AS events
        FROM mr.skew WHERE day >= ${skewFrom} GROUP BY ALL`,
      );
    });
    const [left] = await this.#reader.all('SELECT count(*) AS n FROM mr.ledger');
    this.#merged = Number(left?.n);
  }

  async #merge(table: string, merged: string): Promise<void> {
    await this.#writer.run(`CREATE OR REPLACE TEMP TABLE merged AS ${merged}`);
    await this.#writer.run(`DELETE FROM mr.${table}`);
    await this.#writer.run(`INSERT INTO mr.${table} FROM merged`);
    await this.#writer.run('DROP TABLE merged');
  }

  async keyUsage(nowMs: number): Promise<readonly KeyUsage[]> {
    const lately = Math.floor(nowMs / 60_000) - minutesOfDay;
    const rows = await this.#reader.all(`
      SELECT key_id, "database", "table", sum(received)::BIGINT AS events,
        sum(committed)::BIGINT AS committed, sum(quarantined)::BIGINT AS quarantined,
        coalesce(sum(received) FILTER (minute > ${lately}), 0)::BIGINT AS lately,
        coalesce(max(minute) FILTER (received > 0), 0) * 60000 AS last_ms
      FROM mr.ledger WHERE key_id <> '*' GROUP BY ALL HAVING events > 0 ORDER BY ALL`);
    return rows.map((row) => ({
      keyId: row.key_id as string,
      database: row.database as string,
      table: row.table as string,
      events: Number(row.events),
      committed: Number(row.committed),
      quarantined: Number(row.quarantined),
      lately: Number(row.lately),
      lastAtMs: Number(row.last_ms),
    }));
  }

  async skew(): Promise<readonly Omit<SkewCount, 'day'>[]> {
    const rows = await this.#reader.all(`
      SELECT key_id, bucket, sum(events)::BIGINT AS events FROM mr.skew GROUP BY ALL ORDER BY ALL`);
    return rows.map((row) => ({
      keyId: row.key_id as string,
      bucket: Number(row.bucket),
      events: Number(row.events),
    }));
  }

  async setWaiting(
    rows: readonly (Receipt & Account & { readonly events: number })[],
  ): Promise<void> {
    const values = rows.map(({ shard, offset, events, ...line }) => [
      BigInt(shard),
      BigInt(offset),
      BigInt(line.minute),
      line.database,
      line.table,
      line.keyId,
      BigInt(events),
    ]);
    await this.#live.transact(async () => {
      await this.#live.run('DELETE FROM ml.waiting');
      await this.#live.append('main', 'waiting', values, 'ml');
    });
  }
}

/** A place where the books are wrong, and by how many events. */
type Wrong = { readonly place: string; readonly amount: number };

function wrongOf({ place, amount }: Readonly<Record<string, Plain>>): Wrong {
  return { place: place as string, amount: Number(amount) };
}
