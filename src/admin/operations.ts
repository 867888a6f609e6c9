import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { backup, type BackupReport } from '../backup/index.ts';
import { fault, limits, type Mark, patient, sleep, systemClock } from '../base/index.ts';
import type { Task, Watermark } from '../base/index.ts';
import { columnName, type Member, membersOf, parseReceipt } from '../event/index.ts';
import { listKeys } from '../keys/index.ts';
import type { Loader } from '../loader/index.ts';
import type { ColumnStatus, KeyUsage, ParkedFilter } from '../store/index.ts';
import type { Found, QuarantineRow, Retyped, Store } from '../store/index.ts';
import type { EdgeReport } from '../supervise/index.ts';

/** What operations work on: of a running server, or of a closed data directory. */
export type Workplace = {
  readonly dataDirectory: string;
  readonly store: Store;
  readonly loader: Loader;
  /** How many edges there are. */
  readonly edges: number;
  readonly askEdges: () => Promise<readonly EdgeReport[]>;
};

const time = z.iso.datetime({ offset: true });
/** The engine's texts end at a NUL. */
const word = z.string().regex(/^[^\0]+$/, 'expected text');
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
const tableSchema = z.strictObject({ database: word, table: word });
const backupSchema = z.strictObject({
  /** As the server sees it. */
  directory: word.refine(isAbsolute, 'expected an absolute path'),
  verify: z.boolean().default(false),
});
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
  backup: operation(backupSchema, makeBackup),
  'keys/clocks': operation(z.strictObject({}), ({ store }) => store.books.skew()),
  'keys/usage': operation(z.strictObject({}), ({ store }): Promise<readonly KeyUsage[]> => {
    return store.books.keyUsage(systemClock.nowMs());
  }),
};

export type OperationName = keyof typeof operations;
export type OperationInput<N extends OperationName> = Parameters<(typeof operations)[N]>[1];
export type OperationResult<N extends OperationName> = Awaited<ReturnType<(typeof operations)[N]>>;

/** Throws BAD_REQUEST at once, before it begins, when what is asked for has another form. */
function operation<S extends z.ZodType, R>(
  schema: S,
  run: (place: Workplace, asked: z.output<S>, task: Task) => Promise<R>,
): (place: Workplace, asked: z.input<S>, task?: Task) => Promise<R> {
  return (place, asked, task = patient) => {
    const read = schema.safeParse(asked);
    if (read.success) return run(place, read.data, task);
    const seen = read.error.issues.map(({ path, message }) => [...path, message].join(': '));
    throw fault('BAD_REQUEST', { seen: seen.join('; ') });
  };
}

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
  { loader, askEdges }: Workplace,
  { receipt }: { readonly receipt: string },
): Promise<ReceiptStatus> {
  const { shard, offset, bytes } = receiptIn(receipt);
  if (!loader.hasHeardOf(shard, offset)) {
    for (const { shard: edge, mark } of await askEdges()) loader.durable(edge, mark);
  }
  const { isWaiting, found: events } = await loader.find(shard, offset, offset + bytes);
  const states = new Set(events.map(({ reason }) => (reason ? 'quarantined' : 'queryable')));
  const [only] = states;
  if (isWaiting) return { receipt, state: 'durable', events };
  return { receipt, state: states.size > 1 ? 'mixed' : (only ?? 'unknown'), events };
}

/**
 * How far every edge is now, after those that did not answer at once.
 * @returns undefined when it is not known before the signal
 */
export async function marksOf(
  { edges, askEdges }: Pick<Workplace, 'edges' | 'askEdges'>,
  stop: AbortSignal,
): Promise<ReadonlyMap<number, Mark> | undefined> {
  while (!stop.aborted) {
    const reports = await askEdges();
    if (reports.length >= edges) return new Map(reports.map(({ shard, mark }) => [shard, mark]));
    await sleep(100, stop);
  }
  return undefined;
}

async function makeBackup(
  { dataDirectory, store, loader, ...place }: Workplace,
  asked: z.output<typeof backupSchema>,
  task: Task,
): Promise<BackupReport> {
  const hear = async () => {
    const late = AbortSignal.timeout(limits.flushTimeoutMs);
    const marks = await marksOf(place, AbortSignal.any([late, task.signal]));
    task.signal.throwIfAborted();
    if (!marks) throw fault('BACKUP_FAILED', { seen: 'an edge does not say how far it is' });
    for (const [shard, mark] of marks) loader.durable(shard, mark);
  };
  return backup({ dataDirectory, store, loader, hear }, asked, task);
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
  { loader, askEdges }: Workplace,
  { database, table }: { readonly database: string; readonly table: string },
): Promise<{ readonly dropped: string }> {
  const marks = (await askEdges()).map(({ shard, mark }): [number, Mark] => [shard, mark]);
  await loader.dropTable(database, table, new Map(marks));
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
