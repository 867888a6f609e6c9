import { limits } from '../base/index.ts';
import { decodeSubmission, type EventRecord, type Postback, readRecord } from '../event/index.ts';
import { type KeyRing, mayWrite, stateOf } from '../keys/index.ts';
import type { ReadRecord } from '../log/index.ts';
import { type QuarantineReason, type QuarantineRow, receiptText } from '../store/index.ts';
import type { EventId, Store, StoreBatch, TableBatch } from '../store/index.ts';
import { digestOf, eventId, idText } from './ids.ts';
import { type Source, TablePlan } from './plan.ts';

/** An event on its way; with an `id` it may be a repeat. */
type Draft = { readonly source: Source; readonly record: EventRecord; readonly id?: EventId };

/** Records on their way into one transaction: rows by table, and what goes to quarantine. */
export class Batch {
  readonly #store: Store;
  readonly #keys: KeyRing;
  readonly #plans = new Map<string, TablePlan>();
  readonly #quarantine: QuarantineRow[] = [];
  readonly #faults: unknown[] = [];
  /** Digests of the events whose ids were seen, in the store and in this batch. */
  readonly #seen = new Map<string, bigint>();
  /** Whether no event that is older waits elsewhere, so that ids may be forgotten. */
  isLatest = false;
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

  /** What went wrong in our own code, for the log. */
  get faults(): readonly unknown[] {
    return this.#faults;
  }

  /** Adds what was read from the log; asks the store which ids it knows. */
  async add(parts: readonly { shard: number; records: readonly ReadRecord[] }[]): Promise<void> {
    const drafts: Draft[] = [];
    for (const { shard, records } of parts) {
      for (const { offset, record } of records) {
        for (const { at, postback } of decodeSubmission(record)) {
          const draft = this.#draft({ shard, offset: offset + at, postback });
          if (draft) drafts.push(draft);
        }
      }
    }
    const ids = drafts.flatMap(({ id }) => (id ? [id] : []));
    for (const seen of await this.#store.seen(ids)) this.#seen.set(idText(seen), seen.digest);
    for (const draft of drafts) {
      const reason = this.#attempt(() => this.#addRow(draft));
      if (reason !== undefined) this.#quarantine.push(quarantineRow(draft.source, reason));
    }
  }

  /** Reads one event, unless its place is in quarantine. */
  #draft(source: Source): Draft | undefined {
    const { postback } = source;
    this.#events += 1;
    this.#oldestReceivedAtMs = Math.min(this.#oldestReceivedAtMs, postback.receivedAtMs);
    let draft: Draft | undefined;
    const reason =
      keyRefusal(this.#keys, postback) ??
      this.#attempt(() => {
        const record = readRecord(postback);
        const id = record.id === undefined ? {} : { id: eventId(postback, record.id) };
        draft = { source, record, ...id };
      });
    if (reason !== undefined) this.#quarantine.push(quarantineRow(source, reason));
    return draft;
  }

  /** A bug in here may cost one event its row, but never the others theirs. */
  #attempt(work: () => QuarantineReason | void): QuarantineReason | undefined {
    try {
      return work() ?? undefined;
    } catch (error) {
      this.#faults.push(error);
      return 'unloadable';
    }
  }

  #addRow({ source, record, id }: Draft): QuarantineReason | undefined {
    const plan = this.#planOf(source.postback);
    if (!(plan instanceof TablePlan)) return plan;
    if (!id) {
      plan.add(source, record);
      return undefined;
    }
    const digest = digestOf(source.postback);
    const seen = this.#seen.get(idText(id));
    if (seen === digest) plan.addDuplicate();
    else if (seen !== undefined) return 'id_reused';
    else {
      plan.add(source, record, { ...id, digest });
      this.#seen.set(idText(id), digest);
    }
    return undefined;
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
    return { ...this.#rest(cursors), tables, quarantine: this.#quarantine };
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
    return changed ? { ...this.#rest(cursors), tables, quarantine } : undefined;
  }

  #rest(cursors: ReadonlyMap<number, number>): Pick<StoreBatch, 'cursors' | 'forgetBeforeMs'> {
    const forgetBeforeMs = this.#oldestReceivedAtMs - limits.idsKeptMs;
    return { cursors, forgetBeforeMs: this.isLatest ? forgetBeforeMs : 0 };
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

/** Why an event's key gives it no row; undefined if it does. */
export function keyRefusal(
  keys: KeyRing,
  { database, table, fingerprint, receivedAtMs }: Postback,
): QuarantineReason | undefined {
  const key = keys.find(fingerprint.toString('hex'));
  if (!key) return 'unknown_key';
  const state = stateOf(key, receivedAtMs);
  if (state !== 'in force') return `key_${state}`;
  return mayWrite(key, database, table) ? undefined : 'key_not_allowed';
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
    dialect: postback.dialect,
    context: JSON.stringify(postback.context),
    body: postback.body.toString('utf8'),
  };
}
