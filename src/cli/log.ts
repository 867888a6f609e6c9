import { Command } from 'commander';
import { fault, isMissing, nodeDisk } from '../base/index.ts';
import { decodeSubmission, isErased, receiptText } from '../event/index.ts';
import { type Found, type Inspected, LogInspector } from '../log/index.ts';
import { shardDirectory, shardsIn } from '../log/index.ts';
import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { mustHaveData } from './door.ts';
import { bytes, count, table, timeText } from './render.ts';

/* Both commands only read, and take no lock: a server may run, or be too broken to. */

const tailCount = 10;

/** One event as it lies in the log, or a record that is none. */
type Line = {
  readonly receipt: string;
  readonly receivedAt: string | null;
  readonly database: string | null;
  readonly table: string | null;
  readonly dialect: string | null;
  /** Of the body. */
  readonly bytes: number;
  /** As it was sent; null if it was erased or cannot be read. */
  readonly body: string | null;
};

const inspect = defineCommand('inspect', {
  summary: 'the segments of the log: offsets, counts, times, damage; only reads',
  settings: ['data', 'json'],
  examples: ['log inspect', 'log inspect --data /var/lib/millrace --json'],
  run: async ({ data, json }) => {
    const reports: ReturnType<typeof reportOf>[] = [];
    for (const { shard, log } of await logsIn(data)) {
      for (const base of log.bases) {
        const found = await segmentOf(log, base);
        if (found) reports.push(reportOf(shard, found));
      }
    }
    if (json) return console.log(JSON.stringify(reports));
    if (reports.length === 0) return console.log('the log has no segments');
    const headings = ['shard', 'from', 'to', 'size', 'records', 'events', 'first', 'last', 'state'];
    const rows = reports.map((segment) => {
      const { shard, from, to, fileBytes, records, events, firstAt, lastAt } = segment;
      const times = [firstAt, lastAt];
      return [shard, from, to, bytes(fileBytes), records, events, ...times, stateText(segment)];
    });
    console.log(table(headings, rows));
    for (const segment of reports) for (const line of remarksOn(segment)) console.log(line);
  },
});

const tail = defineCommand('tail', {
  summary: `the last events of the log, ${tailCount} if no count is given; only reads`,
  settings: ['data', 'json'],
  argument: '[count]',
  examples: ['log tail', 'log tail 100 --json'],
  run: async ({ data, json }, given = String(tailCount)) => {
    const wanted = /^[1-9]\d{0,6}$/.test(given) ? Number(given) : undefined;
    if (wanted === undefined) {
      const hint = 'For example: millrace log tail 100';
      throw fault('BAD_USAGE', { seen: `a count is expected, seen: ${given}`, hint });
    }
    const lines: Line[] = [];
    for (const { shard, log } of await logsIn(data))
      lines.push(...(await lastOf(shard, log, wanted)));
    // Shards have nothing in common but the clock.
    const atOf = ({ receivedAt }: Line) => (receivedAt === null ? 0 : Date.parse(receivedAt));
    const last = lines.sort((a, b) => atOf(a) - atOf(b)).slice(-wanted);
    if (json) for (const line of last) console.log(JSON.stringify(line));
    else if (last.length === 0) console.log('the log has no events');
    else console.log(table(['receipt', 'received', 'table', 'bytes', 'body'], last.map(cellsOf)));
  },
});

export const logCommand = new Command('log')
  .description('look at the log as it is on disk, with and without a running server')
  .addCommand(inspect)
  .addCommand(tail)
  .addHelpText(
    'after',
    `\nExamples:\n  ${invocation()} log inspect\n  ${invocation()} log tail 100`,
  );

async function logsIn(data: string) {
  mustHaveData(data);
  const logs: { readonly shard: number; readonly log: LogInspector }[] = [];
  for (const shard of await shardsIn(nodeDisk, data, 0)) {
    logs.push({ shard, log: await LogInspector.open(nodeDisk, shardDirectory(data, shard)) });
  }
  return logs;
}

/** Undefined when a server has dropped it meanwhile. */
async function segmentOf(log: LogInspector, base: number): Promise<Inspected | undefined> {
  try {
    return await log.segment(base);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function reportOf(shard: number, segment: Inspected) {
  const { base, end, fileBytes, isSealed, headersWhole, records, damage, tornBytes } = segment;
  let events = 0;
  const times: number[] = [];
  for (const found of records) {
    const placed = placedIn(found);
    events += placed?.length ?? 0;
    const at = placed?.[0]?.postback.receivedAtMs;
    if (at !== undefined) times.push(at);
  }
  const timeOf = (ms: number | undefined) => (ms === undefined ? null : timeText(ms));
  return {
    shard,
    from: base,
    to: end,
    fileBytes,
    isSealed,
    headersWhole,
    records: records.length,
    events,
    firstAt: timeOf(times[0]),
    lastAt: timeOf(times.at(-1)),
    tornBytes,
    damage,
  };
}

type SegmentReport = ReturnType<typeof reportOf>;

function stateText({ isSealed, damage, headersWhole }: SegmentReport): string {
  const isDamaged = damage.length > 0 || headersWhole === 1;
  return `${isSealed ? 'sealed' : 'last'}${isDamaged ? ', damaged' : ''}`;
}

function remarksOn({ shard, from, headersWhole, damage, tornBytes }: SegmentReport): string[] {
  const place = `shard ${shard}, segment ${from}`;
  const remarks = damage.map((part) => {
    const range = `from ${receiptText(shard, part.from)} to ${receiptText(shard, part.to)}`;
    return `damage ${range} (${count(part.to - part.from, 'byte')}): ${part.reason}`;
  });
  if (headersWhole === 1) remarks.push(`${place}: one of the header's two copies is damaged`);
  if (tornBytes > 0) {
    remarks.push(`${place}: ${count(tornBytes, 'byte')} at the end are no record, and unanswered`);
  }
  return remarks;
}

/** The last events of a shard, from segments that are read from the end on. */
async function lastOf(shard: number, log: LogInspector, wanted: number): Promise<readonly Line[]> {
  let lines: readonly Line[] = [];
  for (const base of log.bases.toReversed()) {
    const found = await segmentOf(log, base);
    if (!found) break;
    const { records } = found;
    const missing = wanted - lines.length;
    // Each record holds one event at least.
    const first =
      records.length === 0 ? 0 : records.offsetAt(Math.max(0, records.length - missing));
    const part = [...records.between(first, Infinity)].flatMap((one) => linesOf(shard, one));
    lines = [...part.slice(-missing), ...lines];
    if (lines.length >= wanted) break;
  }
  return lines;
}

function placedIn({ record }: Found): ReturnType<typeof decodeSubmission> | undefined {
  try {
    return decodeSubmission(record);
  } catch {
    // Whole, by its checksum, but not of a version that we know.
    return undefined;
  }
}

function linesOf(shard: number, found: Found): readonly Line[] {
  const placed = placedIn(found);
  if (!placed) {
    const nothing = { receivedAt: null, database: null, table: null, dialect: null, body: null };
    return [{ receipt: receiptText(shard, found.offset), ...nothing, bytes: found.record.length }];
  }
  return placed.map(({ at, postback }) => ({
    receipt: receiptText(shard, found.offset + at),
    receivedAt: new Date(postback.receivedAtMs).toISOString(),
    database: postback.database,
    table: postback.table,
    dialect: postback.dialect,
    bytes: postback.body.length,
    body: isErased(postback.body) ? null : postback.body.toString('utf8'),
  }));
}

function cellsOf({ receipt, receivedAt, database, table: name, bytes: size, body }: Line) {
  return [receipt, receivedAt, `${database}.${name}`, size, body ?? '(erased or unreadable)'];
}
