import { createWriteStream } from 'node:fs';
import { open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fault, limits, systemClock } from '../base/index.ts';
import { defineCommand } from './command.ts';
import { ExportFolder, type Exported, type Manifest } from './export-folder.ts';
import { tableNameOf, timeOf } from './input.ts';
import { Progress } from './progress.ts';
import { count } from './render.ts';
import { rowsOf, type Sql, type SqlAsked, withSql } from './sql.ts';

/** A day with more rows is written hour by hour. */
const dayRowsMax = 2_000_000;
/** How often the files are compared with a table that changes meanwhile. */
const roundsMax = 3;
const hourSeconds = 3600;
const formats = ['parquet', 'csv', 'ndjson'];

export const exportCommand = defineCommand('export', {
  summary: 'write the rows of a table to files, one for each day; goes on where it was stopped',
  settings: ['data', 'since', 'until', 'format', 'to', 'json'],
  help: {
    since: 'rows whose time is since then, like 2026-11-23 or 24h',
    until: 'rows whose time is before then',
    format: `one of ${formats.join(', ')} (default: parquet)`,
    json: 'print progress and result as lines of JSON',
  },
  argument: '<db.table>',
  examples: [
    'export shop.orders --to /backup/exports',
    'export shop.orders --since 2026-11-01 --until 2026-12-01 --format csv --to .',
  ],
  run: async ({ data, since, until, format = 'parquet', to, json }, name = '') => {
    const { database, table } = tableNameOf(name);
    if (to === undefined || !formats.includes(format)) {
      const seen = to === undefined ? 'where to? Say --to DIR' : `--format ${format} is no file`;
      throw fault('BAD_USAGE', { seen, hint: `For example: millrace export ${name} --to .` });
    }
    const nowMs = systemClock.nowMs();
    const seconds = (text: string | undefined, option: string) =>
      text === undefined ? null : Math.ceil(Date.parse(timeOf(text, option, nowMs)) / 1000);
    const range = { since: seconds(since, '--since'), until: seconds(until, '--until') };
    const given = { since: since ?? null, until: until ?? null };
    const asked = { table: `${database}.${table}`, format, given, ...range };
    const folder = await ExportFolder.open(join(to, asked.table), asked);
    const manifest = await withSql(data, (sql) => exportTable(sql, folder, json));
    if (json) return console.log(JSON.stringify({ result: manifest }));
    const { rows, files, completeTo } = manifest;
    const upTo = completeTo === '' ? '' : ` (complete to ${completeTo})`;
    const what = `${count(rows, 'row')} of ${asked.table} in ${count(files.length, 'file')}`;
    console.log(`exported ${what} to ${folder.path}${upTo}`);
  },
});

type Part = Omit<Exported, 'bytes'>;

/**
 * Writes what is missing of the files, until the table has what they have. What is exported was
 * in the table at one moment: rows that come later are not.
 */
async function exportTable(sql: Sql, folder: ExportFolder, json: boolean): Promise<Manifest> {
  const progress = new Progress(`exporting ${folder.asked.table}`, { unit: 'rows', json });
  try {
    await begin(sql, folder);
    for (let round = 0; round < roundsMax; round += 1) {
      const parts = await partsOf(sql, folder);
      const total = parts.reduce((sum, { rows }) => sum + rows, 0);
      let done = parts.reduce((sum, part) => sum + (folder.has(part) ? part.rows : 0), 0);
      progress.show({ done, total, unit: 'rows' });
      await folder.keepOnly(parts);
      if (done === total) return await folder.finish();
      for (const part of parts.filter((one) => !folder.has(one))) {
        await writePart(sql, folder, part);
        done += part.rows;
        progress.show({ done, total, unit: 'rows' });
      }
    }
  } finally {
    progress.end();
  }
  throw fault('BAD_USAGE', {
    seen: `${folder.asked.table} changes while it is exported: rows of the past come or go`,
    hint: 'What is written stays. Try again later, or a shorter time with --since and --until.',
  });
}

/** Settles which rows are meant, the first time. @throws NO_SUCH_TABLE */
async function begin(sql: Sql, folder: ExportFolder): Promise<void> {
  const [database = '', table = ''] = folder.asked.table.split('.');
  const answer = await sql({
    sql: 'SELECT 1 AS there FROM millrace.tables WHERE "database" = $1 AND "table" = $2',
    format: 'json',
    parameters: { 1: database, 2: table },
  });
  const { watermark, completeTo } = answer;
  const rows = await rowsOf(answer);
  if (rows.length === 0) throw fault('NO_SUCH_TABLE', { seen: folder.asked.table });
  await folder.begin(watermark, completeTo);
}

/** The rows that are meant, as SQL. */
function rowsSql({ asked, watermark }: ExportFolder, from = asked.since, to = asked.until) {
  const [database, table] = asked.table.split('.');
  const shards = watermark.map((receipt) => {
    const shard = receipt.slice(0, receipt.indexOf('-') + 1);
    return `(starts_with(_receipt, '${shard}') AND _receipt < '${receipt}')`;
  });
  const conditions = [
    `(${shards.length > 0 ? shards.join(' OR ') : 'true'})`,
    ...(from === null ? [] : [`time >= ${from}`]),
    ...(to === null ? [] : [`time < ${to}`]),
  ];
  return `FROM "${database}"."${table}" WHERE ${conditions.join(' AND ')}`;
}

/** One part for each day, or for each hour of a day with many rows. */
async function partsOf(sql: Sql, folder: ExportFolder): Promise<readonly Part[]> {
  type Hour = { readonly hour: number; readonly rows: number };
  const counted = `SELECT time // ${hourSeconds} AS hour, count(*) AS rows
    ${rowsSql(folder)} GROUP BY hour ORDER BY hour`;
  const answer = await sql(patiently({ sql: counted, format: 'json' }));
  const days = Map.groupBy(await rowsOf<Hour>(answer), ({ hour }) => Math.floor(hour / 24));
  return [...days].flatMap(([day, hours]) => {
    const rows = hours.reduce((sum, hour) => sum + hour.rows, 0);
    if (rows > dayRowsMax) return hours.map((one) => partOf(folder, one.hour, 1, one.rows));
    return [partOf(folder, day * 24, 24, rows)];
  });
}

function partOf({ asked }: ExportFolder, hour: number, hours: number, rows: number): Part {
  const from = Math.max(asked.since ?? 0, hour * hourSeconds);
  const to = Math.min(asked.until ?? Infinity, (hour + hours) * hourSeconds);
  const date = new Date(hour * hourSeconds * 1000).toISOString().slice(0, hours === 1 ? 13 : 10);
  return { name: `date=${date}.${asked.format}`, rows, from, to };
}

/** Writes one file; it has its name only when it is whole and on disk. */
async function writePart(sql: Sql, folder: ExportFolder, part: Part): Promise<void> {
  const path = join(folder.path, part.name);
  const temporary = `${path}.tmp`;
  // What would not fit in memory stays in the order in which it is stored.
  const order = part.rows > dayRowsMax ? '' : 'ORDER BY time, _receipt';
  const rows = `SELECT * ${rowsSql(folder, part.from, part.to)} ${order}`;
  const answer = await sql(patiently({ sql: rows, format: folder.asked.format }));
  await pipeline(answer.pieces, createWriteStream(temporary, { flags: 'wx' }));
  const file = await open(temporary, 'r');
  await file.sync();
  await file.close();
  await rename(temporary, path);
  await folder.add({ ...part, bytes: (await stat(path)).size });
}

function patiently(asked: SqlAsked): SqlAsked {
  return { ...asked, timeoutMs: limits.queryTimeoutMsMax };
}
