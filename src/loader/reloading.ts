import { fault, limits, messageOf, MillraceError, type Task } from '../base/index.ts';
import { columnName, decodeSubmission, isErased, type Postback } from '../event/index.ts';
import { type Member, readRecord, receivedAtMsAt, receiptNumber } from '../event/index.ts';
import type { Between, ColumnType, Reload, Store, Stretch } from '../store/index.ts';
import type { Column, TableBatch, TableSchema } from '../store/index.ts';
import { typeOf } from './fit.ts';
import { TablePlan } from './plan.ts';
import type { RawKeeper } from './raw-keeper.ts';
import type { Shard } from './shard.ts';

/** A column that a reload changes; it was not there, or is not there any more, without a type. */
export type ColumnChange = {
  readonly column: string;
  readonly before?: ColumnType;
  readonly after?: ColumnType;
};

export type ReloadReport = {
  /** Rows that were derived from the bytes of their events. */
  readonly derived: number;
  /** Rows that stay as they are: their bytes are not kept, or are older than what was asked for. */
  readonly kept: number;
  readonly columns: readonly ColumnChange[];
};

type Parts = {
  readonly store: Store;
  readonly raw: RawKeeper;
  readonly shards: readonly Shard[];
};

export type ReloadAsked = {
  readonly database: string;
  readonly table: string;
  /** Rows that were received before are not derived. */
  readonly sinceMs: number;
  /** Whether nothing is to be changed. */
  readonly isDry: boolean;
};

/** An event of the table, where it stands. */
type Event = { readonly shard: number; readonly offset: number; readonly postback: Postback };

/** Events of the table in a stretch of a shard. */
type Chunk = Stretch & { readonly events: readonly Event[] };

/** How many values of a column are of a kind, in the order in which the kinds appeared. */
type Kinds = Map<Member['kind'], number>;

/** One reload of a table: reads what is kept twice, to choose types and to derive rows. */
export class Reloading {
  readonly #parts: Parts;
  readonly #asked: ReloadAsked;
  readonly #task: Task;
  #before: ReadonlyMap<string, Column> = new Map();
  #schema: TableSchema;
  #readBytes = 0;
  #totalBytes: number | undefined;

  constructor(parts: Parts, asked: ReloadAsked, task: Task) {
    this.#parts = parts;
    this.#asked = asked;
    this.#task = task;
    this.#schema = { ...asked, columns: new Map() };
  }

  /** When nothing else changes tables. @throws NO_SUCH_TABLE, NO_RAW, RELOAD_DISTURBED */
  async run(between: Between): Promise<ReloadReport> {
    const { store, raw } = this.#parts;
    const { database, table, isDry } = this.#asked;
    const release = raw.keepLog();
    const cuts = this.#cursors();
    let reload: Reload | undefined;
    try {
      reload = await store.reload(database, table, between, isDry);
      this.#before = store.schema(database, table)?.columns ?? new Map();
      const report = await this.#derive(reload, between, cuts);
      await reload.close();
      return report;
    } catch (error) {
      await reload?.close(error);
      if (error instanceof MillraceError || this.#task.signal.aborted) throw error;
      throw fault('STORE_FAILED', { seen: messageOf(error) }, error);
    } finally {
      release();
    }
  }

  async #derive(
    reload: Reload,
    between: Between,
    cuts: ReadonlyMap<number, number>,
  ): Promise<ReloadReport> {
    const { raw, shards } = this.#parts;
    const stretches = shards.map(({ shard, cursor }) => {
      return { shard, from: raw.offsetAt(shard, this.#asked.sinceMs), to: cursor };
    });
    const covered = await this.#look(reload, stretches);
    if (reload.covered === 0) throw this.#nothingKept();
    for (const stretch of covered) await this.#add(reload, stretch);
    if (!this.#asked.isDry) await this.#swap(reload, between, cuts);
    const { columns, rows } = reload;
    const derived = reload.covered;
    return { derived, kept: rows - derived, columns: changesOf(this.#before, columns) };
  }

  /** Finds the rows whose bytes are there, and how to type them. @returns where they begin */
  async #look(reload: Reload, stretches: readonly Stretch[]): Promise<readonly Stretch[]> {
    const types = new TypesOfMost();
    const begun: Stretch[] = [];
    for (const stretch of stretches) {
      for await (const chunk of this.#chunks(stretch, this.#asked.sinceMs)) {
        if (begun.at(-1)?.shard !== chunk.shard) begun.push({ ...stretch, from: chunk.from });
        const offsets = chunk.events.map(({ offset }) => offset);
        const rows = await reload.cover(chunk, offsets);
        types.add(
          this.#asked,
          chunk.events.filter(({ offset }) => rows.has(offset)),
        );
      }
    }
    this.#schema = await reload.begin(types.result());
    const bytes = begun.reduce((sum, { from, to }) => sum + to - from, 0);
    this.#totalBytes = this.#readBytes + bytes;
    return begun;
  }

  async #add(reload: Reload, stretch: Stretch): Promise<void> {
    for await (const chunk of this.#chunks(stretch)) {
      const rows = await reload.rowsIn(chunk);
      await reload.add(this.#fit(chunk.events.filter(({ offset }) => rows.has(offset))));
    }
  }

  /** The rows of events; what their columns must become for them is so from now on. */
  #fit(events: readonly Event[]): TableBatch {
    const batch = planOf(this.#schema, events).batch();
    this.#schema = { ...this.#schema, columns: batch.columns };
    return batch;
  }

  /**
   * In rounds: what came meanwhile must be little at last.
   * @param from where each shard was before the first of these rows came.
   */
  async #swap(reload: Reload, between: Between, from: ReadonlyMap<number, number>): Promise<void> {
    let cuts = from;
    for (let round = 0; round < limits.reloadRoundsMax; round += 1) {
      const isDone = await reload.finish(between, (hot, receipts) => {
        return this.#last(hot, receipts, cuts);
      });
      if (isDone) return;
      const next = this.#cursors();
      for (const stretch of await reload.more(between)) {
        const { shard } = stretch;
        const cut = cuts.get(shard) ?? 0;
        const first = stretch.from < cut ? await this.#baseAt(stretch) : cut;
        await this.#add(reload, { shard, from: first, to: this.#cursors().get(shard) ?? first });
      }
      cuts = next;
    }
    throw fault('RELOAD_DISTURBED', { table: this.#name });
  }

  /** Hot rows, while loading waits; undefined if that would take long. */
  async #last(
    hot: readonly Stretch[],
    receipts: ReadonlySet<string>,
    cuts: ReadonlyMap<number, number>,
  ): Promise<TableBatch | undefined> {
    const now = this.#cursors();
    const stretches = hot.map(({ shard, from, to }) => {
      // What waited in quarantine may stand far back.
      const cut = cuts.get(shard) ?? 0;
      return { shard, from: cut, to: now.get(shard) ?? to, isFar: from < cut };
    });
    const bytes = stretches.reduce((sum, { from, to }) => sum + to - from, 0);
    if (bytes > limits.batchBytesMax || stretches.some(({ isFar }) => isFar)) return undefined;
    const events: Event[] = [];
    for (const stretch of stretches) {
      for await (const chunk of this.#chunks(stretch)) events.push(...chunk.events);
    }
    const rows = events.filter(({ shard, offset }) => receipts.has(receiptNumber(shard, offset)));
    return this.#fit(rows);
  }

  async #baseAt({ shard, from }: Stretch): Promise<number> {
    const kept = await this.#parts.raw.records(shard);
    return kept.close().then(() => kept.baseAt(from));
  }

  get #name(): string {
    return `${this.#asked.database}.${this.#asked.table}`;
  }

  #cursors(): Map<number, number> {
    return new Map(this.#parts.shards.map(({ shard, cursor }) => [shard, cursor]));
  }

  /** @param sinceMs begins with the first record that was received then or later. */
  async *#chunks({ shard, from, to }: Stretch, sinceMs = 0): AsyncGenerator<Chunk> {
    const kept = await this.#parts.raw.records(shard);
    try {
      /** All from some record on was read up to here. */
      let reached: number | undefined;
      let hasBegun = false;
      for await (const { records, damage, next } of kept.read(
        Math.max(from, kept.firstOffset),
        to,
      )) {
        if (damage.length > 0) reached = undefined;
        let [events, bytes]: [Event[], number] = [[], 0];
        let start: number | undefined;
        for (const { offset, record } of records) {
          hasBegun ||= receivedAtMsAt(record, 0) >= sinceMs;
          if (!hasBegun) continue;
          if (bytes >= limits.batchBytesMax) {
            yield { shard, from: start ?? offset, to: offset, events };
            this.#tell(bytes);
            [events, bytes, start] = [[], 0, offset];
          }
          start ??= reached ?? offset;
          reached = offset;
          events.push(...this.#eventsOf(shard, offset, record));
          bytes += record.length;
        }
        this.#tell(bytes);
        if (start === undefined) continue;
        yield { shard, from: start, to: next, events };
        reached = next;
      }
    } finally {
      await kept.close();
    }
  }

  #eventsOf(shard: number, recordOffset: number, record: Buffer): readonly Event[] {
    const { database, table } = this.#asked;
    return decodeSubmission(record).flatMap(({ at, postback }) => {
      const isMeant = postback.database === database && postback.table === table;
      if (!isMeant || isErased(postback.body)) return [];
      return [{ shard, offset: recordOffset + at, postback }];
    });
  }

  #tell(bytes: number): void {
    this.#task.signal.throwIfAborted();
    this.#readBytes += bytes;
    this.#task.progress({ done: this.#readBytes, total: this.#totalBytes, unit: 'bytes' });
  }

  #nothingKept(): MillraceError {
    const { sinceMs } = this.#asked;
    const { bytes, sinceMs: rawSinceMs } = this.#parts.raw.status();
    const reach = rawSinceMs === undefined ? '' : `, since ${new Date(rawSinceMs).toISOString()}`;
    return fault('NO_RAW', {
      table: this.#name,
      seen: new Date(sinceMs).toISOString(),
      expected: bytes === 0 ? 'nothing is kept' : `${bytes} bytes are kept${reach}`,
    });
  }
}

/** The type of most values of each column, in the order in which columns appear. */
class TypesOfMost {
  #columns: TableSchema['columns'] = new Map();
  readonly #kinds = new Map<string, Kinds>();

  add(table: Pick<TableSchema, 'database' | 'table'>, events: readonly Event[]): void {
    const plan = planOf({ ...table, columns: this.#columns }, events, ({ key, kind }) => {
      const name = columnName(key);
      const kinds = this.#kinds.get(name) ?? new Map<Member['kind'], number>();
      this.#kinds.set(name, kinds.set(kind, (kinds.get(kind) ?? 0) + 1));
    });
    this.#columns = plan.batch().columns;
  }

  result(): ReadonlyMap<string, ColumnType> {
    const names = [...this.#columns.values()];
    return new Map(
      names.map(({ name, type }) => [name, typeOfMost(this.#kinds.get(name)) ?? type]),
    );
  }
}

/** Integers and fractions are both numbers; of as many of two kinds the earlier one counts. */
export function typeOfMost(kinds: ReadonlyMap<Member['kind'], number> = new Map()) {
  const sums = new Map<Member['kind'], number>();
  for (const [kind, count] of kinds) {
    const group = kind === 'fraction' ? 'integer' : kind;
    sums.set(group, (sums.get(group) ?? 0) + count);
  }
  const most = greatest(sums);
  if (most === undefined || most === 'null') return undefined;
  if (most !== 'integer') return typeOf(most);
  return (kinds.get('fraction') ?? 0) > (kinds.get('integer') ?? 0) ? 'DOUBLE' : 'BIGINT';
}

function greatest(sums: ReadonlyMap<Member['kind'], number>): Member['kind'] | undefined {
  let found: Member['kind'] | undefined;
  for (const [kind, sum] of sums) if (sum > (sums.get(found ?? kind) ?? 0) || !found) found = kind;
  return found;
}

/** The one place where rows are made of events here. */
function planOf(
  schema: TableSchema,
  events: readonly Event[],
  look?: (member: Member) => void,
): TablePlan {
  const plan = new TablePlan(schema);
  for (const event of events) {
    plan.add({ ...event, keyId: '*' }, readRecord(event.postback), undefined, look);
  }
  return plan;
}

function changesOf(
  before: ReadonlyMap<string, Column>,
  after: ReadonlyMap<string, Column>,
): readonly ColumnChange[] {
  const names = new Set([...after.keys(), ...before.keys()]);
  return [...names].flatMap((column) => {
    const [old, now] = [before.get(column)?.type, after.get(column)?.type];
    if (old === now) return [];
    return [{ column, ...(old ? { before: old } : {}), ...(now ? { after: now } : {}) }];
  });
}
