import { Command } from 'commander';
import type { OperationResult, QuarantineFilter } from '../admin/index.ts';
import { fault, limits, systemClock } from '../base/index.ts';
import { invocation, type Values } from '../config.ts';
import { defineCommand } from './command.ts';
import { operate } from './door.ts';
import { timeOf } from './input.ts';
import { Progress } from './progress.ts';
import { bytes, count, harmless, table, timeText } from './render.ts';

const filters = ['reason', 'key', 'database', 'table', 'since', 'until'] as const;
const help = {
  database: 'events that were meant for this database',
  table: 'events that were meant for this table',
  all: 'all events',
};
type Given = Values<(typeof filters)[number]>;

const list = defineCommand('list', {
  summary: 'whose events are in quarantine, where they were meant to go, and why they did not',
  settings: [...filters, 'data', 'json'],
  help,
  examples: ['quarantine list', 'quarantine list --reason unknown_key --since 24h'],
  run: async ({ data, json, ...given }) => {
    const groups = await operate(data, 'quarantine/list', filterOf(given));
    if (json) return console.log(JSON.stringify(groups));
    if (groups.length === 0) return console.log('nothing is in quarantine');
    const headings = ['reason', 'table', 'key', 'events', 'bytes', 'first', 'last'];
    const rows = groups.map((group) => [
      group.reason,
      `${group.database}.${group.table}`,
      group.keyId === '*' ? group.fingerprint.slice(0, 12) : group.keyId,
      group.events,
      bytes(group.bytes),
      timeText(group.firstAtMs),
      timeText(group.lastAtMs),
    ]);
    console.log(table(headings, rows));
    if (groups.length >= limits.parkedGroupsMax)
      console.log('These are the latest; there are more.');
  },
});

const show = defineCommand('show', {
  summary: 'one event in quarantine: its exact bytes, and all that is known of it',
  settings: ['data', 'json'],
  argument: '<receipt>',
  examples: ['quarantine show 0-000000000012345'],
  run: async ({ data, json }, receipt = '') => {
    const row = await operate(data, 'quarantine/show', { receipt });
    if (json) return console.log(JSON.stringify({ receipt, ...row }));
    const facts = [
      `receipt      ${receipt}`,
      `received     ${timeText(row.receivedAtMs)}`,
      `meant for    ${row.database}.${row.table}`,
      `reason       ${row.reason}`,
      `key          ${row.account.keyId === '*' ? 'nobody has made it' : row.account.keyId}`,
      `fingerprint  ${row.fingerprint}`,
      ...(row.address === '' ? [] : [`sent from    ${row.address}`]),
      `form         ${row.dialect} ${row.context === '{}' ? '' : row.context}`.trimEnd(),
    ];
    const text = `${facts.join('\n')}\n\n${row.body}`;
    console.log(process.stdout.isTTY ? harmless(text) : text);
  },
});

const replay = defineCommand('replay', {
  summary: 'load events of the quarantine again, as if they came now; none is stored twice',
  settings: [...filters, 'dryRun', 'data', 'json'],
  help,
  argument: '[receipt]',
  examples: [
    'quarantine replay --dry-run',
    'quarantine replay --reason too_many_tables --database shop',
    'quarantine replay 0-000000000012345',
  ],
  run: async ({ data, json, dryRun, ...given }, receipt) => {
    const filter = { ...filterOf(given), receipt, dryRun };
    const progress = new Progress('replaying', { unit: 'events' });
    const report = await operate(data, 'quarantine/replay', filter, progress);
    console.log(json ? JSON.stringify(report) : replayText(report, dryRun));
  },
});

const drop = defineCommand('drop', {
  summary: 'remove events from the quarantine for good; the ledger counts them as dropped',
  settings: [...filters, 'all', 'dryRun', 'data', 'json'],
  help,
  argument: '[receipt]',
  examples: ['quarantine drop --reason unknown_key --until 30d --dry-run', 'quarantine drop --all'],
  run: async ({ data, json, all, dryRun, ...given }, receipt) => {
    const filter = { ...filterOf(given), ...(receipt === undefined ? {} : { receipt }) };
    if (Object.keys(filter).length === 0 && !all) {
      throw fault('BAD_USAGE', {
        seen: 'which events? Name them by --reason, --key, --database, --table or a time, or --all',
        hint: 'First look: millrace quarantine drop --all --dry-run',
      });
    }
    const { events } = await operate(data, 'quarantine/drop', { ...filter, dryRun });
    if (json) return console.log(JSON.stringify({ events, dryRun }));
    console.log(`${dryRun ? 'would drop' : 'dropped'} ${count(events, 'event')}`);
  },
});

export const quarantineCommand = new Command('quarantine')
  .description('look at events that have no row, load them again, or drop them')
  .addCommand(list)
  .addCommand(show)
  .addCommand(replay)
  .addCommand(drop)
  .addHelpText(
    'after',
    `\nExamples:\n  ${invocation()} quarantine list\n  ${invocation()} quarantine replay --dry-run`,
  );

function filterOf({ since, until, ...names }: Given): QuarantineFilter {
  const nowMs = systemClock.nowMs();
  const given = {
    ...names,
    since: since && timeOf(since, '--since', nowMs),
    until: until && timeOf(until, '--until', nowMs),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function replayText(report: OperationResult<'quarantine/replay'>, isDry: boolean): string {
  const { events, rows, repeats, stay } = report;
  if (events === 0) return 'no such events are in quarantine';
  const [became, remain] = isDry ? ['would become', 'would stay'] : ['became', 'stay'];
  const lines = [`${count(events, 'event')}: ${rows} ${became} rows of their tables`];
  if (repeats > 0)
    lines.push(`${repeats} ${isDry ? 'would be' : 'were'} repeats of events in them`);
  for (const [reason, number] of Object.entries(stay)) {
    lines.push(`${number} ${remain} in quarantine: ${reason} (${whyStay[reason] ?? 'see docs'})`);
  }
  return lines.join('\n');
}

/** What would have to change. */
const whyStay: Readonly<Record<string, string>> = {
  unknown_key: 'nobody has made the key: millrace keys import',
  key_revoked: 'the key is revoked: millrace keys import brings it back',
  key_expired: 'the key had expired when the events came: millrace keys import brings it back',
  key_not_allowed: 'the key may not write there: millrace keys change',
  too_many_tables: 'the server has all the tables it may have',
  id_reused: 'another event of the table has the same id',
  unloadable: 'the store cannot read it: please report it',
};
