import { limits } from '../base/index.ts';
import { columnName, type EventRecord, type Member, type Postback } from '../event/index.ts';
import { offsetBits, type Receipt, receiptHigh, receiptLow } from '../event/index.ts';
import { type Column, Rows, type SeenId, type TableBatch } from '../store/index.ts';
import type { QuarantineReason, QuarantineRow, TableSchema } from '../store/index.ts';
import { type ColumnDraft, put } from './drafts.ts';
import { fit, typeOf } from './fit.ts';
import { Scanner } from './scanner.ts';

/** An event and where it stands in the log. */
export type Source = {
  readonly shard: number;
  readonly offset: number;
  readonly postback: Postback;
  /** Whose key it came with; `*` for nobody's. */
  readonly keyId: string;
  /** Why the key gives it no row. */
  readonly refusal?: QuarantineReason | undefined;
  /** If it is in quarantine. */
  readonly parked?: QuarantineRow;
};

/** Where a value goes: into a column, as the JSON text of its type, or to `_rescued_data`. */
export type Place =
  | {
      readonly kind: 'column';
      readonly column: Column;
      readonly isNew: boolean;
      readonly text: string;
    }
  | { readonly kind: 'rescued'; readonly why: string };

/** Columns that are ours in every table: a sender's value of that name is rescued. */
const ownColumns = new Set(['time', '_rescued_data', '_receipt']);

/**
 * Rows and schema of one table while a batch is made. Pure: nothing happens until commit. When its
 * rows are stored it can rest, and begin another batch: what it knows of the table's keys stays.
 */
export class TablePlan {
  /** The events behind rows, by row; of those that `addPlain` took there is none. */
  readonly sources = new Map<number, Source>();
  /** Repeats of events, which are counted only. */
  readonly repeats: Source[] = [];
  #before: TableSchema;
  /** The columns as they were when somebody asked last. */
  #latest: ReadonlyMap<string, Column>;
  #nowMs: number;
  /** Whether the event that is added makes no columns. */
  #isTooNew = false;
  readonly #columns: Map<string, ColumnDraft>;
  readonly #rows = new Rows();
  #receipts = this.#rows.column('_receipt', 'BIGINT');
  #times = this.#rows.column('time', 'BIGINT');
  readonly #scanner: Scanner;
  #rescued = new Map<string, number>();
  /** By row. */
  readonly #ids = new Map<number, SeenId>();

  constructor(before: TableSchema, nowMs = 0) {
    this.#before = before;
    this.#latest = before.columns;
    this.#nowMs = nowMs;
    this.#columns = new Map(
      [...before.columns].map(([name, column]) => [name, { column, values: undefined }]),
    );
    this.#scanner = new Scanner(this.#rows, this.#columns);
  }

  /**
   * Adds an event as a row. Every value is in a column or, exact, in `_rescued_data`.
   * @param seen its id, if a repeat of it is to be recognized.
   * @param explain is told of each value.
   */
  add(
    source: Source,
    record: EventRecord,
    seen?: Omit<SeenId, 'receivedAtMs'>,
    explain?: (member: Member, place: Place) => void,
  ): void {
    try {
      this.#add(source, record, seen, explain);
    } catch (error) {
      this.#rows.undoRow();
      throw error;
    }
  }

  #add(
    source: Source,
    record: EventRecord,
    seen: Omit<SeenId, 'receivedAtMs'> | undefined,
    explain: ((member: Member, place: Place) => void) | undefined,
  ): void {
    const { postback, shard, offset } = source;
    this.#isTooNew = this.#bringsTooMany(record.members);
    const row = this.#rows.count;
    this.#receipts.addInteger(row, receiptLow(offset), receiptHigh(shard, offset));
    this.#times.addSafeInteger(row, record.time);
    let rescued = '';
    for (const member of record.members) {
      if (member.kind === 'null') continue;
      const name = columnName(member.key);
      const place = this.#place(name, member);
      explain?.(member, place);
      if (place.kind === 'rescued')
        rescued += `${rescued && ','}${JSON.stringify(member.key)}:${member.text}`;
    }
    if (rescued) this.#rows.column('_rescued_data', 'VARCHAR').add(row, `{${rescued}}`);
    this.#rows.endRow();
    this.sources.set(row, source);
    if (!seen) return;
    // The repeats of an event that waited in quarantine may come only now.
    const receivedAtMs = source.parked ? this.#nowMs : postback.receivedAtMs;
    this.#ids.set(row, { ...seen, receivedAtMs });
  }

  /**
   * Adds an event of the dialect `postback` with nothing beside it, as `add` would, from its bytes,
   * if that is easy.
   * @param from where its body begins in `bytes`, before `to`.
   * @returns whether it did.
   */
  addPlain(
    shard: number,
    offset: number,
    receivedAtMs: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): boolean {
    let isAdded = false;
    try {
      isAdded = this.#scanner.add(bytes, from, to, receivedAtMs);
    } finally {
      if (!isAdded) this.#rows.undoRow();
    }
    if (!isAdded) return false;
    const row = this.#rows.count;
    this.#receipts.addInteger(row, receiptLow(offset), receiptHigh(shard, offset));
    this.#rows.endRow();
    return true;
  }

  /** By how many seconds `td_record_time` of the event that was added last was off, if it was. */
  plainSkewSeconds(receivedAtMs: number): number | undefined {
    return this.#scanner.skewSeconds(receivedAtMs);
  }

  /** Where the event of a row stands in the log. */
  receiptOf(row: number): Receipt {
    const receipt = this.#receipts.cells(this.#rows.count)[row] as bigint;
    return {
      shard: Number(receipt >> offsetBits),
      offset: Number(BigInt.asUintN(Number(offsetBits), receipt)),
    };
  }

  /** Columns of the table, as they are with the rows of the batch. */
  get columns(): number {
    return this.#columns.size;
  }

  /** Gives the memory of the rows to others, when they are stored or will not be. */
  release(): void {
    this.#rows.release();
  }

  /** Without rows until it begins again: they are stored. */
  rest(): void {
    for (const draft of this.#columns.values()) draft.values = undefined;
    this.#rows.clear();
    this.#rescued = new Map();
    this.sources.clear();
    this.#ids.clear();
    this.repeats.length = 0;
  }

  /** @returns whether it can: not if somebody else has changed the table meanwhile. */
  begin(schema: TableSchema, nowMs: number): boolean {
    if (schema.columns !== this.#columnsNow()) return false;
    this.#before = schema;
    this.#nowMs = nowMs;
    this.#receipts = this.#rows.column('_receipt', 'BIGINT');
    this.#times = this.#rows.column('time', 'BIGINT');
    return true;
  }

  addDuplicate(source: Source): void {
    this.repeats.push(source);
  }

  /** The batch; without the rows at `leaveOut`. */
  batch(leaveOut: ReadonlySet<number> = new Set()): TableBatch {
    const rows = this.#rows;
    return {
      database: this.#before.database,
      table: this.#before.table,
      columns: this.#columnsNow(),
      rows: leaveOut.size === 0 ? rows : rows.slice(0, rows.count, leaveOut),
      rescued: this.#rescued,
      duplicates: this.repeats.length,
      ids: [...this.#ids].flatMap(([index, id]) => (leaveOut.has(index) ? [] : [id])),
    };
  }

  /** The same map for the same columns. */
  #columnsNow(): ReadonlyMap<string, Column> {
    const latest = this.#latest;
    let isSame = latest.size === this.#columns.size;
    for (const [name, { column }] of this.#columns) isSame &&= latest.get(name) === column;
    if (!isSame) {
      this.#latest = new Map([...this.#columns].map(([name, { column }]) => [name, column]));
    }
    return this.#latest;
  }

  #place(name: string, member: Member): Place {
    const known = this.#columns.get(name);
    const draft = known ?? this.#newColumn(name, member);
    if (typeof draft === 'string') return { kind: 'rescued', why: draft };
    const row = this.#rows.count;
    const fitted = fit(member, draft.column);
    if (draft.values?.lastRow === row || fitted.kind === 'misfit') {
      this.#rescued.set(name, (this.#rescued.get(name) ?? 0) + 1);
      const isSecond = draft.values?.lastRow === row;
      const why = isSecond ? 'a second value for the column' : `does not fit ${draft.column.type}`;
      return { kind: 'rescued', why };
    }
    put(this.#rows, draft, fitted);
    return { kind: 'column', column: draft.column, isNew: !known, text: fitted.text };
  }

  /**
   * Whether an event is so unlike the rows of its table that it makes no columns: each would cost
   * every row from now on. The first event of a table may be as wide as a table may be.
   */
  #bringsTooMany(members: readonly Member[]): boolean {
    const isFirst = this.#before.columns.size === 0 && this.#rows.count === 0;
    if (isFirst || members.length <= limits.newColumnsMax) return false;
    const names = new Set(members.map(({ key }) => columnName(key)));
    const news = [...names].filter((name) => !this.#columns.has(name));
    return news.length > limits.newColumnsMax;
  }

  /** A new column, or why there is none. */
  #newColumn(name: string, member: Member): ColumnDraft | string {
    if (member.kind === 'null') return 'null makes no column';
    if (ownColumns.has(name)) return 'the column is the server’s own';
    if (this.#isTooNew) return 'the event brings more new columns than one may';
    if (this.#columns.size >= limits.columnsMax) return 'the table has all the columns it may have';
    if (name.length > limits.columnNameBytesMax) return 'the name is too long';
    const column = { name, type: typeOf(member.kind), exactAsDouble: true };
    const draft = { column, values: undefined };
    this.#columns.set(name, draft);
    return draft;
  }
}
