import { z } from 'zod';
import { fault, type Task } from '../base/index.ts';
import type { ErasureReport, ReloadReport } from '../loader/index.ts';
import type { Retention } from '../store/index.ts';
import { marksNow, operation, tableSchema, word, type Workplace } from './operation.ts';

const secondsMax = 100 * 366 * 86_400;

/** What an operator can do with the files of tables. */
export const lakeOperations = {
  'tables/archive': operation(tableSchema.partial(), archive),
  'tables/erase': operation(
    tableSchema.extend({ where: word, dryRun: z.boolean().default(false) }),
    erase,
  ),
  'tables/reload': operation(
    tableSchema.extend({
      /** Rows that were received before stay as they are; without it all are derived. */
      since: z.iso.datetime({ offset: true }).optional(),
      dryRun: z.boolean().default(false),
    }),
    reload,
  ),
  'retention/list': operation(z.strictObject({}), ({ store }): Promise<readonly Retention[]> => {
    return Promise.resolve(store.lake.retentions);
  }),
  'retention/set': operation(
    z.strictObject({
      database: word,
      /** All tables of the database, those to come included, when it is not given. */
      table: word.default('*'),
      /** Ended, when it is not given. */
      seconds: z.int().min(1).max(secondsMax).optional(),
    }),
    async ({ store, loader }, { database, table, seconds }) => {
      await loader.exclusive(() => store.lake.retain(database, table, seconds));
      return { database, table, seconds };
    },
  ),
};

async function archive(
  place: Workplace,
  { database, table }: { readonly database?: string | undefined; table?: string | undefined },
  task: Task,
): Promise<{ readonly tables: number; readonly rows: number }> {
  const { store, loader } = place;
  await loader.flush(await marksNow(place, task));
  const all = (await store.tables()).map((one) => ({ database: one.database, table: one.table }));
  const chosen = all.filter((one) => {
    return [undefined, one.database].includes(database) && [undefined, one.table].includes(table);
  });
  if (table !== undefined && chosen.length === 0) {
    throw fault('NO_SUCH_TABLE', { seen: `${database}.${table}` });
  }
  let [tables, rows] = [0, 0];
  for (const one of chosen) {
    if (task.signal.aborted) break;
    rows += await loader.archivist.archive(one);
    tables += 1;
    task.progress({ done: tables, total: chosen.length, unit: 'tables' });
  }
  return { tables, rows };
}

/** What was acknowledged by now is meant; what comes later is not. */
async function erase(
  place: Workplace,
  { where, dryRun, ...table }: { database: string; table: string; where: string; dryRun: boolean },
  task: Task,
): Promise<ErasureReport> {
  await place.loader.flush(await marksNow(place, task));
  return place.loader.erasing.erase(table, where, dryRun, task);
}

async function reload(
  place: Workplace,
  asked: { database: string; table: string; since?: string | undefined; dryRun: boolean },
  task: Task,
): Promise<ReloadReport> {
  const { database, table, since, dryRun: isDry } = asked;
  await place.loader.flush(await marksNow(place, task));
  const sinceMs = since === undefined ? 0 : Date.parse(since);
  return place.loader.reload({ database, table, sinceMs, isDry }, task);
}
