import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { randomIds, systemClock } from '../src/base/index.ts';
import { firstId } from './events.ts';
import { archiveTable, loadLog } from './loading.ts';
import { prepareLog } from './misfit-log.ts';
import { PlainDuck } from './plain-duck.ts';
import { progress } from './server.ts';

/*
 * A table of many rows, made quickly: the events of one day go through log, loader and archive,
 * and their file is copied day by day, with other times, receipts and ids. It is the table that
 * 30 days of loading and compaction leave: a file a day.
 */

export const days = 30;
const daySeconds = 86_400;

export type Days = { readonly data: string; readonly rows: number; readonly firstDay: number };

/** @param folder where the data directory goes. */
export async function makeDays(folder: string, rows: number): Promise<Days> {
  const perDay = Math.ceil(rows / days);
  const data = join(folder, 'data');
  progress(`a day of ${perDay} events`);
  await loadLog(await prepareLog('day', join(folder, 'log'), perDay, []), data);
  await archiveTable(data, perDay);
  const firstDay = Math.floor(systemClock.nowMs() / 1_000 / daySeconds) - days;
  const store = join(data, 'store');
  const [name = ''] = (await readdir(store)).filter((file) => file.endsWith('.duckdb'));
  const duck = await PlainDuck.open(join(store, name));
  try {
    await copyDays(duck, join(data, 'lake'), perDay, firstDay);
  } finally {
    duck.close();
  }
  return { data, rows: perDay * days, firstDay };
}

/** Afterwards the catalog names the copies only; the store removes the rest when it opens. */
async function copyDays(
  duck: PlainDuck,
  lake: string,
  perDay: number,
  firstDay: number,
): Promise<void> {
  const found = await duck.rows(`SELECT path FROM millrace.files ORDER BY time_min`);
  const seed = found.map(([path]) => `'${join(lake, String(path))}'`).join(', ');
  const [[step, plainBytes] = []] = await duck.rows(
    'SELECT max(receipt_max) + 1, sum(plain_bytes)::BIGINT FROM mr.files',
  );
  await duck.rows('DELETE FROM mr.files');
  for (let day = 0; day < days; day += 1) {
    progress(`day ${day + 1} of ${days}`);
    const fromSeconds = (firstDay + day) * daySeconds;
    const date = new Date(fromSeconds * 1_000).toISOString().slice(0, 10);
    const file = randomIds.bytes(8).toString('hex');
    const folder = join(lake, 'bench', 'events', `date=${date}`);
    await mkdir(folder, { recursive: true });
    const path = join(folder, `${file}.parquet`);
    // As the store writes its files.
    await duck.rows(`
      COPY (SELECT * REPLACE (
          ${fromSeconds} + (id - ${firstId}) * ${daySeconds} // ${perDay} AS time,
          id + ${day * perDay} AS id, _receipt + ${day}::BIGINT * ${String(step)} AS _receipt)
        FROM read_parquet([${seed}], hive_partitioning = false))
      TO '${path}' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)`);
    await duck.rows(`
      INSERT INTO mr.files SELECT '${file}', t.id, '${date}', count(*), ${(await stat(path)).size},
        min(time), max(time), min(_receipt), max(_receipt), now() AT TIME ZONE 'UTC',
        ${String(plainBytes)}, NULL
      FROM read_parquet('${path}') CROSS JOIN mr.tables t GROUP BY t.id`);
  }
  await duck.rows(`UPDATE mr.tables SET rows = ${perDay * days}`);
  const more = perDay * (days - 1);
  await duck.rows(`INSERT INTO mr.ledger
    VALUES (${firstDay * 1_440}, 'bench', 'events', '*', ${more}, ${more}, 0, 0, 0, 0)`);
  // Of another place: the view is made anew.
  await duck.rows(`UPDATE mr.lake SET directory = ''`);
}
