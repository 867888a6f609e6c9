import {
  decodeSubmission,
  type EventRecord,
  type Member,
  type Postback,
  readRecord,
  type TimeSource,
} from '../event/index.ts';
import type { KeyRing } from '../keys/index.ts';
import type { QuarantineReason, Store } from '../store/index.ts';
import { judge } from './batch.ts';
import { type Place, TablePlan } from './plan.ts';

/** What an event would become. */
export type Explanation = {
  readonly database: string;
  readonly table: string;
  /** Undefined if the key may not write to it: then it is taken for a new one. */
  readonly tableIsNew: boolean | undefined;
  /** `row`, or `quarantine` with the reason in `key`. */
  readonly becomes: 'row' | 'quarantine';
  readonly key: 'ok' | 'unknown_key' | 'key_revoked' | 'key_expired' | 'key_not_allowed';
  readonly time: { readonly value: number; readonly iso: string; readonly why: string };
  readonly columns: readonly {
    readonly key: string;
    readonly column: string;
    readonly type: string;
    readonly isNew: boolean;
    /** As it would be stored. */
    readonly value: unknown;
  }[];
  /** What would go to `_rescued_data`, exact. */
  readonly rescued: readonly { readonly key: string; readonly text: string; why: string }[];
  readonly warnings: readonly string[];
};

/** Loads a record of the log as far as the commit, and tells instead. Nothing is changed. */
export async function explain(
  store: Store,
  keys: KeyRing,
  record: Buffer,
): Promise<{ readonly stored: false; readonly events: readonly Explanation[] }> {
  await keys.refresh();
  const plans = new Map<string, TablePlan>();
  const events = decodeSubmission(record).map(({ postback }) => {
    const { database, table } = postback;
    const name = `${database}.${table}`;
    const { keyId, refusal } = judge(keys, postback);
    // What a table is like is told to none but those who may write to it.
    const schema = refusal === undefined ? store.schema(database, table) : undefined;
    const plan =
      plans.get(name) ?? new TablePlan(schema ?? { database, table, columns: new Map() });
    plans.set(name, plan);
    const tableIsNew = refusal === undefined ? schema === undefined : undefined;
    return { database, table, tableIsNew, ...explainOne(postback, plan, keyId, refusal) };
  });
  return { stored: false, events };
}

function explainOne(
  postback: Postback,
  plan: TablePlan,
  keyId: string,
  refusal: QuarantineReason | undefined,
): Omit<Explanation, 'database' | 'table' | 'tableIsNew'> {
  const record = readRecord(postback);
  const places: { readonly member: Member; readonly place: Place }[] = [];
  plan.add({ shard: 0, offset: 0, postback, keyId }, record, undefined, (member, place) => {
    places.push({ member, place });
  });
  return {
    becomes: refusal === undefined ? 'row' : 'quarantine',
    key: (refusal ?? 'ok') as Explanation['key'],
    time: {
      value: record.time,
      iso: new Date(record.time * 1000).toISOString(),
      why: whyTime[record.timeFrom],
    },
    columns: places.flatMap(({ member, place }) => {
      if (place.kind !== 'column') return [];
      const { name: column, type } = place.column;
      return [{ key: member.key, column, type, isNew: place.isNew, value: valueOf(place.text) }];
    }),
    rescued: places.flatMap(({ member, place }) =>
      place.kind === 'rescued' ? [{ key: member.key, text: member.text, why: place.why }] : [],
    ),
    warnings: warningsOf(record, refusal),
  };
}

const whyTime: Readonly<Record<TimeSource, string>> = {
  receipt: 'the time of receipt',
  td_record_time: 'td_record_time, which is within −7 … +3 days of receipt',
  time: "the record's own time",
  'keen.timestamp': 'keen.timestamp',
  '#SSUT': 'the time of receipt, as #SSUT asks',
};

function warningsOf(record: EventRecord, refusal: QuarantineReason | undefined): readonly string[] {
  const warnings: string[] = [];
  if (refusal === 'unknown_key') warnings.push('nobody has made this write key on this server');
  if (refusal === 'key_revoked') warnings.push('this write key is revoked');
  if (refusal === 'key_expired') warnings.push('this write key has expired');
  if (refusal === 'key_not_allowed') warnings.push('this write key may not write to this table');
  const given = record.members.find(({ key }) => key === 'td_record_time');
  if (given && given.kind !== 'null' && record.timeFrom === 'receipt') {
    warnings.push(
      'td_record_time is ignored: expected UNIX seconds within −7 … +3 days of receipt',
    );
  }
  if (record.members.every(({ kind }) => kind === 'null'))
    warnings.push('the record has no values');
  return warnings;
}

/** Numbers that JavaScript would round stay text. */
function valueOf(text: string): unknown {
  const value: unknown = JSON.parse(text);
  const isRounded =
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(text);
  return isRounded ? text : value;
}
