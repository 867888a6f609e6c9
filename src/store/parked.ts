import { limits } from '../base/index.ts';
import { type Receipt, receiptNumber } from '../event/index.ts';
import { ledgerColumns } from './books.ts';
import { parkedOverheadBytes } from './catalog.ts';
import type { DuckWriter, Plain } from './duckdb.ts';
import { receiptParts } from './receipts.ts';
import type { ParkedEvents, ParkedFilter, ParkedGroup, QuarantineReason } from './types.ts';
import type { ParkedSource, QuarantineRow } from './types.ts';
import { quoted } from './views.ts';

type Row = Readonly<Record<string, Plain>>;

/** Events looked at for one chunk, at most. */
const chunkEventsMax = 20_000;
const order = 'received_at, receipt';
const dayMs = 86_400_000;
const sourceColumns = 'reason, key_fingerprint, "database", "table"';

/** How much of each reason stays in quarantine, and how long. */
export type Kept = { readonly quarantineBytes: number; readonly quarantineDays: number };

/** `mr.parked`: the events that have no row, and why. */
export class Parked implements ParkedEvents {
  readonly #writer: DuckWriter;
  /** A connection of its own, so that reading waits for no transaction. */
  readonly #reader: DuckWriter;
  readonly #kept: Kept;
  readonly #mustHaveRoom: (bytes: number) => Promise<void>;

  /** @param mustHaveRoom throws STORE_NO_ROOM unless a transaction of so many bytes has it. */
  constructor(
    writer: DuckWriter,
    reader: DuckWriter,
    kept: Kept,
    mustHaveRoom: (bytes: number) => Promise<void>,
  ) {
    this.#writer = writer;
    this.#reader = reader;
    this.#kept = kept;
    this.#mustHaveRoom = mustHaveRoom;
  }

  /** As part of the open transaction. */
  async add(rows: readonly QuarantineRow[]): Promise<void> {
    if (rows.length === 0) return;
    await this.#writer.append('mr', 'parked', rows.map(valuesOf));
  }

  /** As part of the open transaction. */
  async release(receipts: readonly Receipt[]): Promise<void> {
    if (receipts.length === 0) return;
    const numbers = receipts.map(({ shard, offset }) => receiptNumber(shard, offset));
    await this.#writer.run(`DELETE FROM mr.parked WHERE receipt IN (${numbers.join(', ')})`);
  }

  async count(): Promise<number> {
    const rows = await this.#reader.all('SELECT count(*) AS n FROM mr.parked');
    return Number(rows[0]?.n);
  }

  async matching(filter: ParkedFilter): Promise<number> {
    const sql = `SELECT count(*) AS n FROM mr.parked WHERE ${conditionOf(filter)}`;
    return Number((await this.#reader.all(sql))[0]?.n);
  }

  groups(filter: ParkedFilter, groupsMax: number): Promise<readonly ParkedGroup[]> {
    const latest = `last_ms DESC, ${sourceColumns}`;
    return this.#groups(conditionOf(filter), latest, groupsMax);
  }

  groupsOf(fingerprints: readonly string[], after?: ParkedSource): Promise<readonly ParkedGroup[]> {
    if (fingerprints.length === 0) return Promise.resolve([]);
    const behind = after ? `(${sourceColumns}) > ${sourceValues(after)}` : 'true';
    const condition = `key_fingerprint IN (${fingerprints.map(quoted).join(', ')}) AND ${behind}`;
    return this.#groups(condition, sourceColumns, limits.parkedGroupsMax);
  }

  async #groups(condition: string, by: string, groupsMax: number) {
    const rows = await this.#reader.all(`
      SELECT ${sourceColumns}, any_value(key_id) AS key_id, count(*) AS events,
        sum(bytes)::BIGINT AS bytes, epoch_ms(min(received_at)) AS first_ms,
        epoch_ms(max(received_at)) AS last_ms
      FROM mr.parked WHERE ${condition} GROUP BY ${sourceColumns}
      ORDER BY ${by} LIMIT ${groupsMax}`);
    return rows.map((row) => ({
      ...sourceOf(row),
      keyId: row.key_id as string,
      events: Number(row.events),
      bytes: Number(row.bytes),
      firstAtMs: Number(row.first_ms),
      lastAtMs: Number(row.last_ms),
    }));
  }

  async next(filter: ParkedFilter, after?: QuarantineRow): Promise<readonly QuarantineRow[]> {
    const behind = after
      ? `(received_at, receipt) > (make_timestamp_ms(${after.receivedAtMs}),
          ${receiptNumber(after.shard, after.offset)})`
      : 'true';
    // Two steps: bodies can be long, and are read only when it is known how many.
    const found = await this.#reader.all(`
      SELECT receipt::VARCHAR AS receipt, bytes FROM mr.parked
      WHERE ${conditionOf(filter)} AND ${behind} ORDER BY ${order} LIMIT ${chunkEventsMax}`);
    let bytes = 0;
    const chosen = found.flatMap((row, index) => {
      bytes += Number(row.bytes);
      return index === 0 || bytes <= limits.batchBytesMax ? [row.receipt as string] : [];
    });
    if (chosen.length === 0) return [];
    const rows = await this.#reader.all(`
      SELECT *, ${receiptParts('receipt')}, epoch_ms(received_at) AS received_ms
      FROM mr.parked WHERE receipt IN (${chosen.join(', ')})
      ORDER BY ${order}`);
    return rows.map(rowOf);
  }

  async drop(filter: ParkedFilter, note?: (events: number) => Promise<void>): Promise<number> {
    const receipts = `SELECT receipt FROM mr.parked WHERE ${conditionOf(filter)}`;
    return this.#remove(receipts, 'dropped', note);
  }

  async expire(nowMs: number): Promise<number> {
    const { quarantineBytes, quarantineDays } = this.#kept;
    const isOld = `received_at < make_timestamp_ms(${nowMs - quarantineDays * dayMs})`;
    const over = await this.#reader.all(`
      SELECT reason FROM mr.parked GROUP BY reason
      HAVING sum(bytes) > ${quarantineBytes} OR bool_or(${isOld})`);
    if (over.length === 0) return 0;
    // A little more than must go, so that the next event does not make it begin again.
    const kept = Math.floor(quarantineBytes * limits.quarantineKeptShare);
    return this.#remove(
      `SELECT receipt FROM (
        SELECT receipt, received_at, reason, sum(bytes) OVER newer AS upto,
          sum(bytes) OVER (PARTITION BY reason) AS whole
        FROM mr.parked WINDOW newer AS (
          PARTITION BY reason ORDER BY received_at DESC, receipt DESC ROWS UNBOUNDED PRECEDING))
      WHERE ${isOld} OR (whole > ${quarantineBytes} AND upto > ${kept})`,
      'expired',
    );
  }

  /** Removes the events whose receipts a query gives, and books them. */
  async #remove(
    receipts: string,
    as: 'dropped' | 'expired',
    note?: (events: number) => Promise<void>,
  ): Promise<number> {
    const changed = ['quarantined', as];
    const values = ledgerColumns.map((name) => {
      return name === 'quarantined' ? '-count(*)' : changed.includes(name) ? 'count(*)' : '0';
    });
    await this.#mustHaveRoom(0);
    return this.#writer.transact(async () => {
      await this.#writer.run(`CREATE OR REPLACE TEMP TABLE leaving AS ${receipts}`);
      await this.#writer.run(`INSERT INTO mr.ledger
        SELECT epoch_ms(received_at) // 60000 AS minute, account_database, account_table, key_id,
          ${values.join(', ')}
        FROM mr.parked SEMI JOIN leaving USING (receipt)
        GROUP BY minute, account_database, account_table, key_id`);
      await this.#writer.run(
        'DELETE FROM mr.parked WHERE receipt IN (SELECT receipt FROM leaving)',
      );
      const [row] = await this.#writer.all('SELECT count(*) AS n FROM leaving');
      await this.#writer.run('DROP TABLE leaving');
      await note?.(Number(row?.n));
      return Number(row?.n);
    });
  }
}

/** In the order of the table's columns. */
function valuesOf(row: QuarantineRow): readonly (string | bigint | Date)[] {
  const { account } = row;
  const texts = [row.body, row.context, row.database, row.table];
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), parkedOverheadBytes);
  return [
    BigInt(receiptNumber(row.shard, row.offset)),
    new Date(row.receivedAtMs),
    row.database,
    row.table,
    row.reason,
    row.fingerprint,
    row.dialect,
    row.context,
    row.body,
    row.address,
    account.database,
    account.table,
    account.keyId,
    BigInt(bytes),
  ];
}

function rowOf(row: Row): QuarantineRow {
  const receivedAtMs = Number(row.received_ms);
  return {
    ...sourceOf(row),
    shard: Number(row.shard),
    offset: Number(row.offset),
    receivedAtMs,
    dialect: row.dialect as string,
    context: row.context as string,
    body: row.body as string,
    address: row.address as string,
    account: {
      minute: Math.floor(receivedAtMs / 60_000),
      database: row.account_database as string,
      table: row.account_table as string,
      keyId: row.key_id as string,
    },
  };
}

function sourceOf(row: Row) {
  return {
    reason: row.reason as QuarantineReason,
    fingerprint: row.key_fingerprint as string,
    database: row.database as string,
    table: row.table as string,
  };
}

/** @param filter holds only numbers, and texts that came from people. */
function conditionOf(filter: ParkedFilter): string {
  const { reasons, fingerprints, database, table, sinceMs, untilMs, receipt, among } = filter;
  const { receipts } = filter;
  const parts = ['true'];
  if (reasons) parts.push(`reason IN (${reasons.map(quoted).join(', ')})`);
  if (fingerprints) {
    const ones = fingerprints.map((one) => `starts_with(key_fingerprint, ${quoted(one)})`);
    parts.push(`(${['false', ...ones].join(' OR ')})`);
  }
  if (database !== undefined) parts.push(`"database" = ${quoted(database)}`);
  if (table !== undefined) parts.push(`"table" = ${quoted(table)}`);
  if (sinceMs !== undefined) parts.push(`received_at >= make_timestamp_ms(${sinceMs})`);
  if (untilMs !== undefined) parts.push(`received_at < make_timestamp_ms(${untilMs})`);
  if (receipt) parts.push(`receipt = ${receiptNumber(receipt.shard, receipt.offset)}`);
  if (receipts) parts.push(`receipt IN (${['NULL', ...receipts].join(', ')})`);
  if (among) {
    parts.push(`(${sourceColumns}) IN (${among.map(sourceValues).join(', ')})`);
  }
  return parts.join(' AND ');
}

/** In the order of `sourceColumns`. */
function sourceValues({ reason, fingerprint, database, table }: ParkedSource): string {
  return `(${[reason, fingerprint, database, table].map(quoted).join(', ')})`;
}
