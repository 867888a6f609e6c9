import { limits } from '../base/index.ts';
import { type Context, decodeSubmission, type Dialect, receivedAtMsAt } from '../event/index.ts';
import { type EventRecord, type Postback, readRecord, type Receipt } from '../event/index.ts';
import { SingleHead } from '../event/index.ts';
import { type KeyRing, mayWrite, stateOf } from '../keys/index.ts';
import type { QuarantineReason, QuarantineRow, Store } from '../store/index.ts';
import type { Account, StoreBatch, TableBatch } from '../store/index.ts';
import { type Draft, Group, type Part, type Run } from './group.ts';
import { digestOf, eventId, idText } from './ids.ts';
import { Lane } from './lane.ts';
import { type KnownLane, Lanes } from './lanes.ts';
import { type Source, TablePlan } from './plan.ts';
import { Plans } from './plans.ts';
import { Counted } from './shard.ts';
import { minuteOf, type Outcome, Tally } from './tally.ts';

/** By how much the `td_record_time` of an event was off. */
type Skew = {
  readonly receivedAtMs: number;
  readonly keyId: string;
  readonly seconds: number;
};

const none: ReadonlySet<number> = new Set();

/** Events on their way into one transaction: rows by table, and what goes to quarantine. */
export class Batch {
  /** The records of the log, by shard. */
  readonly counted = new Map<number, Counted>();
  readonly #store: Store;
  readonly #keys: KeyRing;
  readonly #nowMs: number;
  readonly #spare: Plans;
  readonly #plans = new Map<string, TablePlan>();
  readonly #parked: { readonly source: Source; readonly reason: QuarantineReason }[] = [];
  /** Events from quarantine that stay there as they are. */
  readonly #staying: QuarantineRow[] = [];
  readonly #released: QuarantineRow[] = [];
  readonly #faults: unknown[] = [];
  readonly #skews: Skew[] = [];
  /** What was read from the log. */
  parts: readonly Part[] = [];
  readonly #lanes = new Lanes((part, index) => this.#newLane(part, index));
  /** By table, in the order in which their first events came. */
  readonly #groups = new Map<string, Group>();
  /** Digests of the events whose ids were seen, in the store and in this batch. */
  readonly #seen = new Map<string, bigint>();
  /** Whether no event that is older waits elsewhere, so that ids may be forgotten. */
  isLatest = false;
  #newTables = 0;
  #oldestReceivedAtMs = Number.POSITIVE_INFINITY;
  #events = 0;

  /** @param spare where plans come from, and go to when they are stored. */
  constructor(store: Store, keys: KeyRing, nowMs: number, spare = new Plans()) {
    this.#store = store;
    this.#keys = keys;
    this.#nowMs = nowMs;
    this.#spare = spare;
  }

  get events(): number {
    return this.#events;
  }

  /** Those that its events went to. */
  get tables(): number {
    return this.#plans.size;
  }

  /** When the oldest event of the batch was received, ms. */
  get oldestReceivedAtMs(): number {
    return this.#oldestReceivedAtMs;
  }

  /** Events that stay in quarantine, unchanged. */
  get staying(): readonly QuarantineRow[] {
    return this.#staying;
  }

  /** By how many seconds `td_record_time` was off, where it was a number with an end. */
  get skews(): readonly number[] {
    return this.#skews.flatMap(({ seconds }) => (Number.isFinite(seconds) ? [seconds] : []));
  }

  /** What went wrong in our own code, for the log. */
  get faults(): readonly unknown[] {
    return this.#faults;
  }

  /** Adds what was read from the log, once for each batch; asks the store which ids it knows. */
  async add(parts: readonly Part[]): Promise<void> {
    this.parts = parts;
    // Those that may have ids: of those of version 1 there are none.
    const drafts: Draft[] = [];
    for (const part of parts) {
      const { shard, records } = part;
      const counted = this.counted.get(shard) ?? new Counted();
      this.counted.set(shard, counted);
      for (let index = 0; index < records.length; index += 1) {
        let events = 1;
        if (SingleHead.isAt(records.bytes, records.startAt(index))) {
          const { lane, group } = this.#lanes.at(part, index);
          group.addRecord(part, lane, index);
        } else {
          const sources = this.#sourcesOf(part, index);
          events = sources.length;
          for (const source of sources) this.#addDraft(source, drafts);
        }
        counted.add(records.offsetAt(index), events);
      }
      const [last] = records.length > 0 ? this.#sourcesOf(part, records.length - 1) : [];
      if (last) counted.latestAtMs = last.postback.receivedAtMs;
    }
    await this.#learn(drafts);
    for (const { work } of this.#groups.values()) {
      for (const one of work) {
        if ('lane' in one) this.#addRun(one);
        else this.#settle(one);
      }
    }
  }

  #addDraft(source: Source, drafts: Draft[]): void {
    const draft = this.#draft(source);
    if (!draft) return;
    drafts.push(draft);
    this.#groupOf(source.postback).addDraft(draft);
  }

  /** Adds records of version 1: on the fast way, if that can be. */
  #addRun({ part, lane, indexes }: Run): void {
    for (const index of indexes) {
      if (this.#addPlain(part, lane, index)) continue;
      for (const source of this.#sourcesOf(part, index)) {
        const draft = this.#draft(source);
        if (draft) this.#settle(draft);
      }
    }
  }

  #addPlain({ shard, records }: Part, lane: Lane, index: number): boolean {
    const { bytes } = records;
    const [at, to, offset] = [
      records.startAt(index),
      records.endAt(index),
      records.offsetAt(index),
    ];
    const receivedAtMs = receivedAtMsAt(bytes, at);
    if (!lane.isOpen(offset, receivedAtMs)) return false;
    const plan = (lane.plan ??= this.#lanePlan(lane));
    const from = at + lane.head.bodyAt;
    try {
      if (!plan?.addPlain(shard, offset, receivedAtMs, bytes, from, to)) return false;
    } catch (error) {
      this.#faults.push(error);
      return false;
    }
    lane.count(receivedAtMs);
    this.#see(receivedAtMs);
    const skewSeconds = plan.plainSkewSeconds(receivedAtMs);
    if (skewSeconds !== undefined) this.#addSkew(receivedAtMs, lane.rules.keyId, skewSeconds);
    return true;
  }

  #newLane(part: Part, index: number): KnownLane {
    const { bytes } = part.records;
    const at = part.records.startAt(index);
    const [source] = this.#sourcesOf(part, index);
    const {
      postback: { database, table, fingerprint },
      keyId,
      refusal,
    } = source!;
    const key = this.#keys.find(fingerprint.toString('hex'));
    const expiresAtMs = key?.expiresAt === undefined ? Infinity : Date.parse(key.expiresAt);
    const lane = new Lane(bytes, at, {
      database,
      table,
      keyId,
      fromOffset: this.#store.droppedBefore(database, table, part.shard),
      untilMs: refusal === undefined ? expiresAtMs : 0,
    });
    return { lane, shard: part.shard, group: this.#groupOf({ database, table }) };
  }

  #groupOf({ database, table }: Pick<Postback, 'database' | 'table'>): Group {
    const name = `${database}.${table}`;
    let group = this.#groups.get(name);
    if (!group) this.#groups.set(name, (group = new Group()));
    return group;
  }

  #lanePlan({ rules }: Lane): TablePlan | undefined {
    const plan = this.#planOf(rules);
    return plan instanceof TablePlan ? plan : undefined;
  }

  /** The events of a record, and what their keys let them be. */
  #sourcesOf({ shard, records }: Part, index: number): readonly Source[] {
    const offset = records.offsetAt(index);
    return decodeSubmission(records.recordAt(index)).map(({ at, postback }) => {
      return { shard, offset: offset + at, postback, ...judge(this.#keys, postback) };
    });
  }

  /** The event of a record of version 1 that was read. */
  #sourceAt({ shard, offset }: Receipt): Source {
    for (const part of this.parts.filter((other) => other.shard === shard)) {
      for (let index = 0; index < part.records.length; index += 1) {
        const [source] =
          part.records.offsetAt(index) === offset ? this.#sourcesOf(part, index) : [];
        if (source) return source;
      }
    }
    throw new Error('assertion failed: a row has a record');
  }

  /** Adds events that are in quarantine, as if they came now: to be rows, or to stay. */
  async addParked(rows: readonly QuarantineRow[]): Promise<void> {
    const drafts = rows.flatMap((parked) => {
      const { shard, offset } = parked;
      const postback = postbackOf(parked);
      const source = { shard, offset, postback, ...judge(this.#keys, postback), parked };
      return this.#draft(source) ?? [];
    });
    await this.#learn(drafts);
    for (const draft of drafts) this.#settle(draft);
  }

  /** Asks the store which ids it knows. */
  async #learn(drafts: readonly Draft[]): Promise<void> {
    const ids = drafts.flatMap(({ id }) => (id ? [id] : []));
    for (const seen of await this.#store.seen(ids)) this.#seen.set(idText(seen), seen.digest);
  }

  /** Makes a row of an event, or parks it. */
  #settle(draft: Draft): void {
    const { source } = draft;
    const reason = this.#attempt(() => this.#addRow(draft));
    if (reason !== undefined) this.#park(source, reason);
    else if (source.parked) this.#released.push(source.parked);
  }

  /** Reads one event, unless its place is in quarantine. */
  #draft(source: Source): Draft | undefined {
    const { postback } = source;
    this.#see(postback.receivedAtMs);
    let draft: Draft | undefined;
    const reason =
      source.refusal ??
      this.#dropRefusal(source) ??
      this.#attempt(() => {
        const record = readRecord(postback);
        draft = { source, record, ...this.#idOf(postback, record) };
      });
    if (reason !== undefined) this.#park(source, reason);
    return draft;
  }

  #see(receivedAtMs: number): void {
    this.#events += 1;
    if (receivedAtMs < this.#oldestReceivedAtMs) this.#oldestReceivedAtMs = receivedAtMs;
  }

  #addSkew(receivedAtMs: number, keyId: string, seconds: number): void {
    this.#skews.push({ receivedAtMs, keyId, seconds });
  }

  #idOf(postback: Postback, { id }: EventRecord): Pick<Draft, 'id'> {
    if (id === undefined) return {};
    const { database, table } = postback;
    return { id: eventId(postback, this.#store.incarnation(database, table), id) };
  }

  /** What was acknowledged before its table was dropped is no row of a new one by itself. */
  #dropRefusal({ shard, offset, parked, postback }: Source): QuarantineReason | undefined {
    const { database, table } = postback;
    const isOld = !parked && offset < this.#store.droppedBefore(database, table, shard);
    return isOld ? 'table_dropped' : undefined;
  }

  #park(source: Source, reason: QuarantineReason): void {
    const { parked } = source;
    if (parked?.reason === reason && parked.account.keyId === source.keyId) {
      this.#staying.push(parked);
      return;
    }
    if (parked) this.#released.push(parked);
    this.#parked.push({ source, reason });
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
    const { postback } = source;
    const plan = this.#planOf(postback);
    if (!(plan instanceof TablePlan)) return plan;
    const digest = id ? digestOf(postback) : 0n;
    const seen = id && this.#seen.get(idText(id));
    if (seen !== undefined && seen !== digest) return 'id_reused';
    if (seen !== undefined) {
      plan.addDuplicate(source);
      return undefined;
    }
    plan.add(source, record, id && { ...id, digest });
    if (id) this.#seen.set(idText(id), digest);
    const { skewSeconds } = record;
    if (skewSeconds !== undefined) this.#addSkew(postback.receivedAtMs, source.keyId, skewSeconds);
    return undefined;
  }

  #planOf({ database, table }: Pick<Postback, 'database' | 'table'>): TablePlan | QuarantineReason {
    const name = `${database}.${table}`;
    let plan = this.#plans.get(name);
    if (plan) return plan;
    const schema = this.#store.schema(database, table);
    if (!schema) {
      if (this.#store.tableCount + this.#newTables >= limits.tablesMax) return 'too_many_tables';
      this.#newTables += 1;
    }
    const before = schema ?? { database, table, columns: new Map() };
    plan = this.#spare.take(name, before, this.#nowMs);
    this.#plans.set(name, plan);
    return plan;
  }

  /** What the store is to write. Once for each batch. */
  storeBatch(cursors: ReadonlyMap<number, number>): StoreBatch {
    return this.#build(cursors, new Map());
  }

  /**
   * The same without the rows that the store cannot take, which go to quarantine instead;
   * undefined if it can take every row, so that something else is wrong.
   */
  async withoutPoison(cursors: ReadonlyMap<number, number>): Promise<StoreBatch | undefined> {
    const poison = new Map<TablePlan, ReadonlySet<number>>();
    for (const plan of this.#plans.values()) {
      const found = await this.#poisonIn(plan.batch(), 0);
      if (found.length > 0) poison.set(plan, new Set(found));
    }
    return poison.size === 0 ? undefined : this.#build(cursors, poison);
  }

  #build(
    cursors: ReadonlyMap<number, number>,
    poison: ReadonlyMap<TablePlan, ReadonlySet<number>>,
  ): StoreBatch {
    const tally = new Tally();
    const tables: TableBatch[] = [];
    const quarantine: QuarantineRow[] = [];
    const book = (source: Source, outcome: Outcome) => tally.add(accountOf(source), outcome);
    for (const { receivedAtMs, keyId, seconds } of this.#skews) {
      tally.addSkew(receivedAtMs, keyId, seconds);
    }
    for (const lane of this.#lanes) lane.book(tally);
    for (const { source, reason } of this.#parked) {
      quarantine.push(this.#quarantineRow(source, reason));
    }
    for (const plan of this.#plans.values()) {
      const leaveOut = poison.get(plan) ?? none;
      tables.push(plan.batch(leaveOut));
      for (const source of plan.repeats) book(source, 'deduplicated');
      for (const source of plan.sources.values()) book(source, 'committed');
      for (const row of leaveOut) {
        const source = plan.sources.get(row) ?? this.#sourceAt(plan.receiptOf(row));
        tally.add(accountOf(source), 'committed', -1);
        quarantine.push(this.#quarantineRow(source, 'unloadable'));
      }
    }
    for (const { account } of quarantine) tally.add(account, 'quarantined');
    for (const { account } of this.#released) tally.release(account);
    // Of what came without events there is no oldest one.
    const isKnown = this.isLatest && this.#events > 0;
    const forgetBeforeMs = isKnown ? this.#oldestReceivedAtMs - limits.idsKeptMs : 0;
    const { entries: ledger, skew } = tally;
    const released = this.#released;
    return { tables, quarantine, released, ledger, skew, cursors, forgetBeforeMs };
  }

  /** Gives its memory to the next one, when all is stored. */
  release(): void {
    for (const [name, plan] of this.#plans) this.#spare.give(name, plan);
  }

  /** The rows that cannot be read, by halving. */
  async #poisonIn(batch: TableBatch, first: number): Promise<readonly number[]> {
    const { count } = batch.rows;
    if (count === 0 || (await this.#store.accepts(batch))) return [];
    if (count === 1) return [first];
    const half = Math.ceil(count / 2);
    const left = { ...batch, rows: batch.rows.slice(0, half) };
    const right = { ...batch, rows: batch.rows.slice(half, count) };
    return [...(await this.#poisonIn(left, first)), ...(await this.#poisonIn(right, first + half))];
  }

  #quarantineRow(source: Source, reason: QuarantineReason): QuarantineRow {
    const { shard, offset, postback, parked } = source;
    const { database, table, index } = postback;
    const { from = '', ...context } = postback.context;
    const name = `${database}.${table}`;
    const isKnown = this.#plans.has(name) || this.#store.schema(database, table) !== undefined;
    return {
      shard,
      offset,
      receivedAtMs: postback.receivedAtMs,
      database,
      table,
      reason,
      fingerprint: postback.fingerprint.toString('hex'),
      dialect: postback.dialect,
      context: JSON.stringify({ ...context, ...(index > 0 ? { index } : {}) }),
      body: postback.body.toString('utf8'),
      address: parked?.address ?? from,
      account: accountOf(source, isKnown),
    };
  }
}

type Judged = Pick<Postback, 'database' | 'table' | 'fingerprint' | 'receivedAtMs'>;

/** Whose key an event came with (`*`: nobody's), and why that gives it no row. */
export function judge(
  keys: KeyRing,
  { database, table, fingerprint, receivedAtMs }: Judged,
): Pick<Source, 'keyId' | 'refusal'> {
  const key = keys.find(fingerprint.toString('hex'));
  if (!key) return { keyId: '*', refusal: 'unknown_key' };
  const state = stateOf(key, receivedAtMs);
  if (state !== 'in force') return { keyId: key.id, refusal: `key_${state}` };
  const isAllowed = mayWrite(key, database, table);
  return { keyId: key.id, refusal: isAllowed ? undefined : 'key_not_allowed' };
}

/** Where the ledger has an event; senders make up the names of tables that nobody has. */
function accountOf({ postback, keyId }: Source, isKnown = true): Account {
  const { database, table, receivedAtMs } = postback;
  const minute = minuteOf(receivedAtMs);
  return { minute, database: isKnown ? database : '*', table: isKnown ? table : '*', keyId };
}

/** The event as it came out of the log. */
export function postbackOf({ fingerprint, body, ...row }: QuarantineRow): Postback {
  const { database, table, receivedAtMs } = row;
  const stored = JSON.parse(row.context) as Context & { readonly index?: number };
  const { index = 0, ...context } = stored;
  return {
    database,
    table,
    receivedAtMs,
    dialect: row.dialect as Dialect,
    fingerprint: Buffer.from(fingerprint, 'hex'),
    context,
    body: Buffer.from(body),
    index,
  };
}
