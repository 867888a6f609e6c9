import { limits } from '../base/index.ts';
import { columnName, type Member, membersOf, type Postback, recordTime } from '../event/index.ts';
import { type Column, receiptNumber, type TableBatch, type TableSchema } from '../store/index.ts';
import { fit, typeOf } from './fit.ts';

/** An event and where it stands in the log. */
export type Source = {
  readonly shard: number;
  readonly offset: number;
  readonly postback: Postback;
};

type Draft = { column: Column; filledByRow: number };

/** Columns that are ours in every table: a sender's value of that name is rescued. */
const ownColumns = new Set(['time', '_rescued_data', '_receipt']);

/** Lines and schema of one table while a batch is made. Pure: nothing happens until commit. */
export class TablePlan {
  /** The events behind `lines`, one by one. */
  readonly sources: Source[] = [];
  readonly #before: TableSchema;
  readonly #columns: Map<string, Draft>;
  readonly #lines: string[] = [];
  readonly #rescued = new Map<string, number>();

  constructor(before: TableSchema) {
    this.#before = before;
    this.#columns = new Map(
      [...before.columns].map(([name, column]) => [name, { column, filledByRow: -1 }]),
    );
  }

  /** Adds an event as a row. Every value is in a column or, exact, in `_rescued_data`. */
  add(source: Source): void {
    const { postback, shard, offset } = source;
    const members = membersOf(postback.body.toString('utf8'));
    const given = members.find(({ key }) => key === 'td_record_time');
    const time = recordTime(given, postback.receivedAtMs);
    let line = `{"_receipt":${receiptNumber(shard, offset)},"time":${time}`;
    let rescued = '';
    for (const member of members) {
      if (member.kind === 'null') continue;
      const name = columnName(member.key);
      const text = this.#place(name, member);
      if (text !== undefined) line += `,"${name}":${text}`;
      else rescued += `${rescued && ','}${JSON.stringify(member.key)}:${member.text}`;
    }
    if (rescued) line += `,"_rescued_data":${JSON.stringify(`{${rescued}}`)}`;
    this.#lines.push(`${line}}`);
    this.sources.push(source);
  }

  /** The batch; without the rows at `leaveOut`. */
  batch(leaveOut: ReadonlySet<number> = new Set()): TableBatch {
    return {
      database: this.#before.database,
      table: this.#before.table,
      columns: new Map([...this.#columns].map(([name, { column }]) => [name, column])),
      lines: this.#lines.filter((_, index) => !leaveOut.has(index)),
      rescued: this.#rescued,
    };
  }

  /** The value as its column's JSON text; undefined if it must be rescued. */
  #place(name: string, member: Member): string | undefined {
    const draft = this.#columns.get(name) ?? this.#newColumn(name, member);
    if (!draft) return undefined;
    const row = this.#lines.length;
    const fitted = fit(member, draft.column);
    if (draft.filledByRow === row || fitted.kind === 'misfit') {
      this.#rescued.set(name, (this.#rescued.get(name) ?? 0) + 1);
      return undefined;
    }
    if (fitted.column) draft.column = { ...draft.column, ...fitted.column };
    draft.filledByRow = row;
    return fitted.text;
  }

  #newColumn(name: string, member: Member): Draft | undefined {
    if (member.kind === 'null' || ownColumns.has(name)) return undefined;
    if (this.#columns.size >= limits.columnsMax) return undefined;
    if (name.length > limits.columnNameBytesMax) return undefined;
    const column = { name, type: typeOf(member.kind), exactAsDouble: true };
    const draft = { column, filledByRow: -1 };
    this.#columns.set(name, draft);
    return draft;
  }
}
