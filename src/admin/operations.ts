import { z } from 'zod';
import { fault, limits, systemClock, type Watermark } from '../base/index.ts';
import { columnName, type Member, membersOf, parseReceipt } from '../event/index.ts';
import { listKeys } from '../keys/index.ts';
import type { ColumnStatus, KeyUsage, ParkedFilter } from '../store/index.ts';
import type { Found, QuarantineRow, Retyped } from '../store/index.ts';
import { backupOperation } from './backup.ts';
import { lakeOperations } from './lake.ts';
import { marksNow, operation, tableSchema, word, type Workplace } from './operation.ts';

const time = z.iso.datetime({ offset: true });
const filterSchema = z.strictObject({
  reason: word.optional(),
  /** Id or name of a key, or how its fingerprint begins. */
  key: word.optional(),
  database: word.optional(),
  table: word.optional(),
  since: time.optional(),
  until: time.optional(),
  receipt: word.optional(),
});
const chosenSchema = filterSchema.extend({ dryRun: z.boolean().default(false) });
const columnTypes = ['BIGINT', 'DOUBLE', 'BOOLEAN', 'VARCHAR', 'JSON'] as const;

/** Which events of the quarantine are meant, as people say it. */
export type QuarantineFilter = z.input<typeof filterSchema>;

/** What there is of a receipt. */
export type ReceiptStatus = {
  readonly receipt: string;
  /**
   *  - `durable`: on disk, on its way to its table
   *  - `queryable`: in a table
   *  - `quarantined`: see `events`
   *  - `mixed`: a request of many events, not all with the same fate
   *  - `unknown`: never given by this server, a repeat, or removed since
   */
  readonly state: 'durable' | 'queryable' | 'quarantined' | 'mixed' | 'unknown';
  readonly events: readonly Found[];
};

export type ColumnReport = ColumnStatus & {
  /** Values for the column that are in `_rescued_data`, the newest: JSON text. */
  readonly examples: readonly string[];
};

/** What an operator can do, by path; the same over HTTP and on a closed data directory. */
export const operations = {
  'quarantine/list': operation(filterSchema, async (place, filter) => {
    return place.store.parked.groups(await parkedFilter(place, filter), limits.parkedGroupsMax);
  }),
  'quarantine/show': operation(z.strictObject({ receipt: z.string() }), showParked),
  'quarantine/replay': operation(chosenSchema, async (place, { dryRun, ...filter }, task) => {
    return place.loader.replay(await parkedFilter(place, filter), dryRun, task);
  }),
  'quarantine/drop': operation(chosenSchema, dropParked),
  'receipts/show': operation(z.strictObject({ receipt: z.string() }), showReceipt),
  'columns/list': operation(tableSchema, listColumns),
  'columns/set-type': operation(
    tableSchema.extend({ column: z.string(), type: z.enum(columnTypes) }),
    async ({ loader }, { database, table, column, type }): Promise<Retyped> => {
      return loader.retype(database, table, column, type);
    },
  ),
  'tables/drop': operation(tableSchema, dropTable),
  ...lakeOperations,
  backup: backupOperation,
  'keys/clocks': operation(z.strictObject({}), ({ store }) => store.books.skew()),
  'keys/usage': operation(z.strictObject({}), ({ store }): Promise<readonly KeyUsage[]> => {
    return store.books.keyUsage(systemClock.nowMs());
  }),
};

export type OperationName = keyof typeof operations;
export type OperationInput<N extends OperationName> = Parameters<(typeof operations)[N]>[1];
export type OperationResult<N extends OperationName> = Awaited<ReturnType<(typeof operations)[N]>>;

async function parkedFilter(
  { dataDirectory }: Workplace,
  { reason, key, since, until, receipt, ...names }: z.output<typeof filterSchema>,
): Promise<ParkedFilter> {
  return {
    ...names,
    ...(reason === undefined ? {} : { reasons: [reason] }),
    ...(key === undefined ? {} : { fingerprints: await fingerprintsOf(dataDirectory, key) }),
    ...(since === undefined ? {} : { sinceMs: Date.parse(since) }),
    ...(until === undefined ? {} : { untilMs: Date.parse(until) }),
    ...(receipt === undefined ? {} : { receipt: receiptIn(receipt) }),
  };
}

/** @throws NO_SUCH_KEY */
async function fingerprintsOf(dataDirectory: string, key: string): Promise<readonly string[]> {
  const keys = await listKeys(dataDirectory);
  const named = keys.filter(({ id, name }) => id === key || name === key);
  if (named.length > 0) return named.map(({ fingerprint }) => fingerprint);
  if (/^[0-9a-f]{4,64}$/.test(key)) return [key];
  throw fault('NO_SUCH_KEY', { seen: key });
}

/** @throws BAD_RECEIPT */
function receiptIn(text: string) {
  const receipt = parseReceipt(text);
  if (!receipt) throw fault('BAD_RECEIPT', { seen: text });
  return receipt;
}

async function showParked(
  { store }: Workplace,
  { receipt }: { readonly receipt: string },
): Promise<QuarantineRow> {
  const [row] = await store.parked.next({ receipt: receiptIn(receipt) });
  if (!row) throw fault('NOT_IN_QUARANTINE', { seen: receipt });
  return row;
}

async function dropParked(
  place: Workplace,
  { dryRun, ...given }: z.output<typeof chosenSchema>,
): Promise<{ readonly events: number }> {
  const { store, loader } = place;
  const filter = await parkedFilter(place, given);
  return loader.exclusive(async () => {
    const { parked } = store;
    return { events: await (dryRun ? parked.matching(filter) : parked.drop(filter)) };
  });
}

async function showReceipt(
  { loader, marks }: Workplace,
  { receipt }: { readonly receipt: string },
): Promise<ReceiptStatus> {
  const { shard, offset, bytes } = receiptIn(receipt);
  if (!loader.hasHeardOf(shard, offset)) {
    for (const [written, mark] of await marks()) loader.durable(written, mark);
  }
  const { isWaiting, found: events } = await loader.find(shard, offset, offset + bytes);
  const states = new Set(events.map(({ reason }) => (reason ? 'quarantined' : 'queryable')));
  const [only] = states;
  if (isWaiting) return { receipt, state: 'durable', events };
  return { receipt, state: states.size > 1 ? 'mixed' : (only ?? 'unknown'), events };
}

async function listColumns(
  { store }: Workplace,
  { database, table }: { readonly database: string; readonly table: string },
): Promise<readonly ColumnReport[]> {
  const columns = await store.columns(database, table);
  const examples = new Map<string, string[]>();
  for (const text of await store.rescued(database, table, limits.rescuedLookedAtMax)) {
    for (const member of membersOf(text)) addExample(examples, member);
  }
  return columns.map((status) => ({ ...status, examples: examples.get(status.column) ?? [] }));
}

function addExample(examples: Map<string, string[]>, { key, text }: Member): void {
  const name = columnName(key);
  const known = examples.get(name) ?? [];
  examples.set(name, known);
  if (known.length < limits.rescuedExamplesMax && !known.includes(text)) known.push(text);
}

async function dropTable(
  place: Workplace,
  { database, table }: { readonly database: string; readonly table: string },
): Promise<{ readonly dropped: string }> {
  await place.loader.dropTable(database, table, await marksNow(place));
  return { dropped: `${database}.${table}` };
}

/** How complete an answer is, as its headers say it. */
export function watermarkHeaders({ receipts, toMs }: Watermark): Readonly<Record<string, string>> {
  return {
    'x-millrace-watermark': receipts.join(', '),
    'x-millrace-complete-to': completeTo(toMs),
  };
}

/** `everything`, or a time; empty until it is known. */
export function completeTo(toMs: number): string {
  if (toMs === 0) return '';
  return Number.isFinite(toMs) ? new Date(toMs).toISOString() : 'everything';
}
