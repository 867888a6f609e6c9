import { limits } from '../base/index.ts';
import { decodeEnvelope, type Postback } from '../event/index.ts';
import { type KeyRing, mayWrite } from '../keys/index.ts';
import type { ReadRecord } from '../log/index.ts';
import { type QuarantineReason, type QuarantineRow, receiptText } from '../store/index.ts';
import type { Store, StoreBatch, TableBatch } from '../store/index.ts';
import { type Source, TablePlan } from './plan.ts';

/** Records on their way into one transaction: rows by table, and what goes to quarantine. */
export class Batch {
  readonly #store: Store;
  readonly #keys: KeyRing;
  readonly #plans = new Map<string, TablePlan>();
  readonly #quarantine: QuarantineRow[] = [];
  readonly #faults: unknown[] = [];
  #newTables = 0;
  #oldestReceivedAtMs = Number.POSITIVE_INFINITY;
  #events = 0;

  constructor(store: Store, keys: KeyRing) {
    this.#store = store;
    this.#keys = keys;
  }

  get events(): number {
    return this.#events;
  }

  /** When the oldest event of the batch was received, ms. */
  get oldestReceivedAtMs(): number {
    return this.#oldestReceivedAtMs;
  }

  get quarantined(): readonly QuarantineRow[] {
    return this.#quarantine;
  }

  add(shard: number, record: ReadRecord): void {
    const postback = decodeEnvelope(record.record);
    const source = { shard, offset: record.offset, postback };
    this.#events += 1;
    this.#oldestReceivedAtMs = Math.min(this.#oldestReceivedAtMs, postback.receivedAtMs);
    const reason = this.#refusal(postback);
    const plan = reason ?? this.#planOf(postback);
    const done = plan instanceof TablePlan ? this.#addRow(plan, source) : plan;
    if (done !== 'added') this.#quarantine.push(quarantineRow(source, done));
  }

  /** A bug in here may cost one event its row, but never the others theirs. */
  #addRow(plan: TablePlan, source: Source): 'added' | QuarantineReason {
    try {
      plan.add(source);
      return 'added';
    } catch (error) {
      this.#faults.push(error);
      return 'unloadable';
    }
  }

  /** What went wrong in our own code, for the log. */
  get faults(): readonly unknown[] {
    return this.#faults;
  }

  #refusal({ database, table, fingerprint }: Postback): QuarantineReason | undefined {
    const key = this.#keys.find(fingerprint.toString('hex'));
    if (!key) return 'unknown_key';
    if (key.revokedAt !== undefined) return 'key_revoked';
    return mayWrite(key, database, table) ? undefined : 'key_not_allowed';
  }

  #planOf({ database, table }: Postback): TablePlan | QuarantineReason {
    const name = `${database}.${table}`;
    let plan = this.#plans.get(name);
    if (plan) return plan;
    const schema = this.#store.schema(database, table);
    if (!schema) {
      if (this.#store.tableCount + this.#newTables >= limits.tablesMax) return 'too_many_tables';
      this.#newTables += 1;
    }
    plan = new TablePlan(schema ?? { database, table, columns: new Map() });
    this.#plans.set(name, plan);
    return plan;
  }

  /** What the store is to write. */
  storeBatch(cursors: ReadonlyMap<number, number>): StoreBatch {
    const tables = [...this.#plans.values()].map((plan) => plan.batch());
    return { tables, quarantine: this.#quarantine, cursors };
  }

  /**
   * The same without the rows that the store cannot take, which go to quarantine instead;
   * undefined if it can take every row, so that something else is wrong.
   */
  async withoutPoison(cursors: ReadonlyMap<number, number>): Promise<StoreBatch | undefined> {
    const tables: TableBatch[] = [];
    const quarantine = [...this.#quarantine];
    for (const plan of this.#plans.values()) {
      const poison = await this.#poisonIn(plan.batch(), 0);
      tables.push(plan.batch(new Set(poison)));
      for (const index of poison) {
        const source = plan.sources[index];
        if (source) quarantine.push(quarantineRow(source, 'unloadable'));
      }
    }
    const changed = quarantine.length > this.#quarantine.length;
    return changed ? { tables, quarantine, cursors } : undefined;
  }

  /** The rows that cannot be read, by halving. */
  async #poisonIn(batch: TableBatch, first: number): Promise<readonly number[]> {
    if (batch.lines.length === 0 || (await this.#store.accepts(batch))) return [];
    if (batch.lines.length === 1) return [first];
    const half = Math.ceil(batch.lines.length / 2);
    const left = { ...batch, lines: batch.lines.slice(0, half) };
    const right = { ...batch, lines: batch.lines.slice(half) };
    return [...(await this.#poisonIn(left, first)), ...(await this.#poisonIn(right, first + half))];
  }
}

function quarantineRow(source: Source, reason: QuarantineReason): QuarantineRow {
  const { shard, offset, postback } = source;
  return {
    receipt: receiptText(shard, offset),
    receivedAtMs: postback.receivedAtMs,
    database: postback.database,
    table: postback.table,
    reason,
    fingerprint: postback.fingerprint.toString('hex'),
    body: postback.body.toString('utf8'),
  };
}
