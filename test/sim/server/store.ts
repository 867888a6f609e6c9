import { type Disk, fault, limits, type Lock } from '../../../src/base/index.ts';
import { receiptNumber } from '../../../src/event/index.ts';
import type {
  CellValue,
  EventId,
  ParkedFilter,
  ParkedGroup,
  ParkedSource,
  QuarantineRow,
  Store,
  StoreBatch,
  TableBatch,
  TableSchema,
} from '../../../src/store/index.ts';
import type { Time } from './time.ts';

/*
 * The store's seam over memory that outlives its process: each commit is there as a whole or not at
 * all, and takes its time. The engine behind the real one has tests of its own, with real kills.
 */

export type Row = ReadonlyMap<string, CellValue>;
export type StoreFault = 'STORE_FAILED' | 'STORE_NO_ROOM' | 'STORE_INVALID';
/** A mistake on purpose: a store that keeps its promise no more. */
export type StorePlant = 'forgets rows' | 'fails after it committed';

/** No store takes a text with it. */
export const poison = '\u0001poison';
const [callMsMin, callMsMax] = [0.1, 40];
const outcomes = ['committed', 'quarantined', 'deduplicated', 'expired', 'dropped'] as const;

/** What is stored, whoever lives. */
export class Medium {
  readonly rows = new Map<string, Row>();
  readonly quarantine = new Map<string, QuarantineRow>();
  readonly schemas = new Map<string, TableSchema>();
  readonly cursors = new Map<number, number>();
  readonly ids = new Map<string, { readonly digest: bigint; readonly receivedAtMs: number }>();
  readonly sums = {
    received: 0,
    committed: 0,
    quarantined: 0,
    deduplicated: 0,
    expired: 0,
    dropped: 0,
  };
  commits = 0;
  #fault: { left: number; readonly code: StoreFault } | undefined;
  /** Faults that struck. */
  struck = 0;
  plant: StorePlant | undefined;
  /** Is told of what must never be. */
  readonly violate: (what: string) => void;

  constructor(violate: (what: string) => void) {
    this.violate = violate;
  }

  /** Lets the call after `skip` others fail. */
  failNext(code: StoreFault, skip = 0): void {
    this.#fault = { left: skip, code };
  }

  heal(): void {
    this.#fault = undefined;
  }

  /** Once for each call: how it is to fail. */
  takeFault(): StoreFault | undefined {
    if (!this.#fault) return undefined;
    this.#fault.left -= 1;
    if (this.#fault.left >= 0) return undefined;
    const { code } = this.#fault;
    this.#fault = undefined;
    this.struck += 1;
    return code;
  }

  /** Whether a column holds JSON. */
  isJson(column: string): boolean {
    return this.schemas.get('sim.events')?.columns.get(column)?.type === 'JSON';
  }

  apply(batch: StoreBatch): void {
    this.commits += 1;
    for (const { shard, offset } of batch.released) {
      const receipt = receiptNumber(shard, offset);
      if (!this.quarantine.delete(receipt)) this.violate(`${receipt} was released, and not there`);
    }
    const forgets = this.plant === 'forgets rows' && this.commits % 3 === 0;
    for (const table of forgets ? [] : batch.tables) this.#addTable(table);
    for (const row of batch.quarantine) {
      this.#mustBeNew(receiptNumber(row.shard, row.offset), row.database, row.table);
      this.quarantine.set(receiptNumber(row.shard, row.offset), row);
    }
    for (const entry of batch.ledger) {
      for (const name of ['received', ...outcomes] as const) this.sums[name] += entry[name];
    }
    for (const [shard, cursor] of batch.cursors) {
      const before = this.cursors.get(shard) ?? 0;
      if (cursor < before) this.violate(`the cursor of shard ${shard} went back`);
      this.cursors.set(shard, cursor);
    }
    for (const [id, { receivedAtMs }] of this.ids) {
      if (receivedAtMs < batch.forgetBeforeMs) this.ids.delete(id);
    }
  }

  #addTable(batch: TableBatch): void {
    const { database, table, columns, ids } = batch;
    this.schemas.set(`${database}.${table}`, { database, table, columns });
    const names = [...batch.rows.columns.keys()];
    for (const cells of batch.rows.cells()) {
      const row = new Map(names.map((name, index) => [name, cells[index]]));
      const receipt = String(row.get('_receipt'));
      this.#mustBeNew(receipt, database, table);
      this.rows.set(receipt, row);
    }
    for (const { receivedAtMs, digest, ...id } of ids) {
      this.ids.set(idText(id), { digest, receivedAtMs });
    }
  }

  #mustBeNew(receipt: string, database: string, table: string): void {
    if (!this.rows.has(receipt) && !this.quarantine.has(receipt)) return;
    this.violate(`${receipt} of ${database}.${table} is stored twice`);
  }
}

export class SimStore {
  readonly #medium: Medium;
  readonly #time: Time;
  readonly #lock: Lock;
  #isInvalid = false;

  private constructor(medium: Medium, time: Time, lock: Lock) {
    this.#medium = medium;
    this.#time = time;
    this.#lock = lock;
  }

  /** Only one is open at a time, as with the real one. */
  static async open(medium: Medium, time: Time, disk: Disk): Promise<Store> {
    const lock = await disk.lock('/data/store.lock', () => 'another store', limits.lockWaitMs);
    await time.pass(callMsMin, 10 * callMsMax);
    // What only operators ask for is not there.
    return new SimStore(medium, time, lock) as unknown as Store;
  }

  get cursors(): ReadonlyMap<number, number> {
    return new Map(this.#medium.cursors);
  }

  get tableCount(): number {
    return this.#medium.schemas.size;
  }

  incarnation(): string {
    return '';
  }

  droppedBefore(): number {
    return 0;
  }

  schema(database: string, table: string): TableSchema | undefined {
    return this.#medium.schemas.get(`${database}.${table}`);
  }

  async commit(batch: StoreBatch): Promise<void> {
    await this.#pass();
    const next = this.#medium.takeFault();
    const { plant } = this.#medium;
    if (next === 'STORE_FAILED' || next === 'STORE_NO_ROOM') throw fault(next, { seen: 'a fault' });
    if (batch.tables.some(hasPoison)) throw fault('STORE_FAILED', { seen: 'a row' });
    // Nobody knows: the one or the other, by the time it takes.
    const isApplied = next === undefined || Math.floor(this.#time.nowMs) % 2 === 0;
    if (isApplied) this.#medium.apply(batch);
    if (plant === 'fails after it committed' && this.#medium.commits % 3 === 0) {
      throw fault('STORE_FAILED', { seen: 'a lie' });
    }
    await this.#time.pass(callMsMin, callMsMax);
    if (next === undefined) return;
    this.#isInvalid = true;
    throw fault('STORE_INVALID', { seen: 'a fault' });
  }

  async accepts(batch: TableBatch): Promise<boolean> {
    await this.#call();
    return !hasPoison(batch);
  }

  async seen(ids: readonly EventId[]) {
    await this.#call();
    return ids.flatMap((id) => {
      const known = this.#medium.ids.get(idText(id));
      return known ? [{ ...id, digest: known.digest }] : [];
    });
  }

  async find() {
    await this.#call();
    return [];
  }

  async close(): Promise<void> {
    await this.#time.pass(callMsMin, callMsMax);
    this.#lock.release();
  }

  readonly parked = {
    count: async () => this.#parked({}).length,
    matching: async (filter: ParkedFilter) => {
      await this.#call();
      return this.#parked(filter).length;
    },
    groupsOf: async (fingerprints: readonly string[], after?: ParkedSource) => {
      await this.#call();
      const groups = new Map<string, ParkedGroup>();
      for (const row of this.#parked({ fingerprints })) {
        const { reason, fingerprint, database, table, receivedAtMs: ms, account } = row;
        const text = sourceText(row);
        if (after && text <= sourceText(after)) continue;
        const { events = 0, firstAtMs = ms, lastAtMs = ms } = groups.get(text) ?? {};
        groups.set(text, {
          reason,
          fingerprint,
          database,
          table,
          keyId: account.keyId,
          bytes: 0,
          events: events + 1,
          firstAtMs: Math.min(firstAtMs, ms),
          lastAtMs: Math.max(lastAtMs, ms),
        });
      }
      return [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group);
    },
    next: async (filter: ParkedFilter, after?: QuarantineRow) => {
      await this.#call();
      const rows = this.#parked(filter).sort(byAge);
      return rows.filter((row) => !after || byAge(after, row) < 0).slice(0, 3);
    },
    expire: async () => {
      await this.#call();
      return 0;
    },
  };

  readonly books = {
    audit: async () => {
      await this.#call();
      const { sums, rows, quarantine } = this.#medium;
      const settled = outcomes.reduce((sum, name) => sum + sums[name], 0);
      const wrong = [
        sums.received - settled,
        sums.committed - rows.size,
        sums.quarantined - quarantine.size,
      ];
      const events = wrong.reduce((sum, one) => sum + Math.abs(one), 0);
      if (events > 0) this.#medium.violate(`the books are wrong: ${JSON.stringify(wrong)}`);
      return { events, where: events > 0 ? ['sim'] : [] };
    },
    compact: () => this.#call(),
    setWaiting: () => this.#call(),
  };

  readonly lake = {
    directory: '',
    missing: [],
    setAside: 0,
    retentions: [],
    size: { hotRows: 0, files: 0, bytes: 0 },
    isFull: false,
    due: () => undefined,
    weigh: () => this.#call(),
    files: [],
  };

  readonly eraser = { open: [] };

  #parked({ fingerprints, among }: ParkedFilter): QuarantineRow[] {
    return [...this.#medium.quarantine.values()].filter((row) => {
      const isAmong = !among || among.some((source) => sourceText(source) === sourceText(row));
      return isAmong && (!fingerprints || fingerprints.includes(row.fingerprint));
    });
  }

  async #call(): Promise<void> {
    await this.#pass();
    // What only looks fails, and that is all.
    if (this.#medium.takeFault()) throw fault('STORE_FAILED', { seen: 'a fault' });
  }

  async #pass(): Promise<void> {
    if (this.#isInvalid) throw fault('STORE_INVALID', { seen: 'closed' });
    await this.#time.pass(callMsMin, callMsMax);
  }
}

function hasPoison({ rows }: TableBatch): boolean {
  return rows.cells().some((cells) => cells.includes(poison));
}

function idText({ high, low }: EventId): string {
  return `${high} ${low}`;
}

function sourceText({ reason, fingerprint, database, table }: ParkedSource): string {
  return [reason, fingerprint, database, table].join(' ');
}

function byAge(one: QuarantineRow, other: QuarantineRow): number {
  if (one.receivedAtMs !== other.receivedAtMs) return one.receivedAtMs - other.receivedAtMs;
  return one.shard - other.shard || one.offset - other.offset;
}
