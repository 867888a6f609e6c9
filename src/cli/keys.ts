import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import type { KeyUsage } from '../admin/index.ts';
import { fault, nodeDisk, randomIds, systemClock } from '../base/index.ts';
import { invocation } from '../config.ts';
import {
  changeKey,
  createKey,
  importKey,
  keysToRevoke,
  type KeyChanges,
  type KeyEntry,
  listKeys,
  revokeKey,
  rotateKey,
  stateOf,
} from '../keys/index.ts';
import { clocksCommand } from './clocks.ts';
import { defineCommand } from './command.ts';
import { operate, operateIfRunning } from './door.ts';
import { databaseOf, endOf, keyFromInput, newKeyOf, originsOf, tableOf } from './key-input.ts';
import { table, timeText } from './render.ts';

const newKeySettings = ['database', 'table', 'name', 'origins', 'strictKey', 'expires'] as const;

const create = defineCommand('create', {
  summary: 'make a write key; it is shown once',
  settings: ['data', ...newKeySettings, 'json'],
  examples: [
    'keys create --database shop --name "web shop"',
    'keys create --database shop --table orders --expires 90d --json',
    "keys create --database 'shop_*'",
    'keys create --database shop --origins https://shop.example --strict-key',
  ],
  run: async ({ data, json, ...given }) => {
    const nowMs = systemClock.nowMs();
    const rules = newKeyOf(given, 'create', nowMs);
    await nodeDisk.makeDirectory(data);
    const { key, entry } = await createKey(data, rules, randomIds, nowMs);
    if (json) return console.log(JSON.stringify({ key, ...entry }));
    console.log(`${key}\n`);
    console.log(`The key ${mayText(entry)}. It is not shown again.`);
    sayIfUnused(data);
  },
});

const importCommand = defineCommand('import', {
  summary: 'take over a key that senders have already; it is read from standard input',
  settings: ['data', ...newKeySettings, 'json'],
  examples: [
    'keys import --database shop < key.txt',
    'keys import --database shop --table orders --name "web shop" < key.txt',
  ],
  run: async ({ data, json, ...given }) => {
    const rules = newKeyOf(given, 'import', systemClock.nowMs());
    const key = await keyFromInput();
    await nodeDisk.makeDirectory(data);
    const { entry, was } = await importKey(data, key, rules, randomIds, systemClock.nowMs());
    if (json) return console.log(JSON.stringify({ ...entry, broughtBack: was !== undefined }));
    if (was !== undefined) console.log(`${entry.id} was ${was} and is brought back.`);
    console.log(`The key ${mayText(entry)}.`);
    sayIfUnused(data);
  },
});

const rotate = defineCommand('rotate', {
  summary: 'make a key that may do what another one may; the old one stays in force',
  settings: ['data', 'expires', 'expiresOld', 'json'],
  argument: '<id-or-name>',
  examples: ['keys rotate "web shop" --expires-old 7d', 'keys rotate k_0a1b2c3d4e'],
  run: async ({ data, expires, expiresOld, json }, which = '') => {
    const nowMs = systemClock.nowMs();
    const ends = {
      expiresAt: expires && endOf(expires, '--expires', nowMs),
      oldExpiresAt: expiresOld && endOf(expiresOld, '--expires-old', nowMs),
    };
    mustBeThere(data);
    const { key, entry, old } = await rotateKey(data, which, ends, randomIds, nowMs);
    if (json) return console.log(JSON.stringify({ key, ...entry, old }));
    console.log(`${key}\n`);
    console.log(`The key ${mayText(entry)}. It is not shown again.`);
    console.log(`The old key ${mayText(old)}.`);
  },
});

const change = defineCommand('change', {
  summary: 'change what a key may do, when it ends, or its name',
  settings: ['data', 'database', 'table', 'origins', 'nameNew', 'expires', 'json'],
  argument: '<id-or-name>',
  examples: [
    "keys change k_0a1b2c3d4e --database 'shop_*' --table '*'",
    'keys change "web shop" --name-new "old web shop" --expires 7d',
    'keys change "web shop" --expires never',
  ],
  run: async ({ data, json, ...given }, which = '') => {
    const nowMs = systemClock.nowMs();
    const { database, table: tableName, origins, nameNew, expires } = given;
    const changes: KeyChanges = {
      ...(database === undefined ? {} : { database: databaseOf(database) }),
      ...(tableName === undefined ? {} : { table: tableOf(tableName) }),
      ...(origins === undefined ? {} : { origins: originsOf(origins) }),
      ...(nameNew === undefined ? {} : { name: nameNew }),
      ...(expires === undefined ? {} : { expiresAt: endOf(expires, '--expires', nowMs) }),
    };
    if (Object.keys(changes).length === 0) {
      throw fault('BAD_USAGE', {
        seen: 'nothing to change: give --database, --table, --origins, --name-new or --expires',
        hint: 'For example: millrace keys change k_0a1b2c3d4e --expires 90d',
      });
    }
    mustBeThere(data);
    const entry = await changeKey(data, which, changes, nowMs);
    if (json) return console.log(JSON.stringify(entry));
    console.log(`The key ${mayText(entry)}.`);
  },
});

type Used = Pick<KeyUsage, 'events' | 'lastAtMs'>;
type Cell = (key: KeyEntry, nowMs: number, used: Used | undefined) => string | number;

/** What `keys list` shows of a key. */
const columns: readonly (readonly [string, Cell])[] = [
  ['id', ({ id }) => id],
  ['name', ({ name }) => name],
  ['may write to', scopeText],
  ['created', ({ createdAt }) => createdAt],
  ['state', stateText],
  ['last used', (_key, _nowMs, used) => (used ? timeText(used.lastAtMs).slice(0, 16) : '')],
  ['events', (_key, _nowMs, used) => used?.events ?? ''],
  ['rules', rulesText],
  ['fingerprint', ({ fingerprint }) => fingerprint.slice(0, 12)],
];

const list = defineCommand('list', {
  summary: 'list the keys, without the keys themselves',
  settings: ['data', 'json'],
  examples: ['keys list', 'keys list --json'],
  run: async ({ data, json }) => {
    const nowMs = systemClock.nowMs();
    const keys = await listKeys(data);
    // Only a running server says how they are used: to look at keys, nothing is loaded.
    const usage = (await operateIfRunning(data, 'keys/usage', {})) ?? [];
    if (json) {
      const told = keys.map((key) => {
        return { ...key, state: stateOf(key, nowMs), used: usedBy(usage, key) };
      });
      return console.log(JSON.stringify(told));
    }
    if (keys.length === 0)
      return console.log(`no keys yet: ${invocation()} keys create --database DB`);
    const rows = keys.map((key) => {
      return columns.map(([, cell]) => cell(key, nowMs, usedBy(usage, key)));
    });
    const headings = columns.map(([heading]) => heading);
    console.log(table(headings, rows));
  },
});

const revoke = defineCommand('revoke', {
  summary: 'revoke a key; what is not loaded yet goes to quarantine',
  settings: ['data', 'all', 'dryRun', 'json'],
  argument: '<id-or-name>',
  examples: [
    'keys revoke k_0a1b2c3d4e',
    'keys revoke "web shop" --dry-run',
    'keys revoke "web shop" --all',
  ],
  run: async ({ data, all, dryRun, json }, which = '') => {
    mustBeThere(data);
    if (dryRun) return tellUsage(data, which, all, json);
    const revoked = await revokeKey(data, which, systemClock.nowMs(), all);
    if (json) return console.log(JSON.stringify(revoked));
    for (const key of revoked) console.log(`revoked ${key.id} (${key.name})`);
  },
});

export const keysCommand = new Command('keys').description(
  'make, take over, rotate, change, list and revoke write keys; with and without a running server',
);
for (const command of [create, importCommand]) command.addOption(fromFingerprint());
const commands = [create, importCommand, rotate, change, list, revoke, clocksCommand];
for (const command of commands) keysCommand.addCommand(command);
keysCommand.addHelpText(
  'after',
  `\nExamples:\n  ${invocation()} keys create --database shop\n  ${invocation()} keys list`,
);

/** Who would miss the keys. */
async function tellUsage(data: string, which: string, all: boolean, json: boolean): Promise<void> {
  const keys = keysToRevoke(await listKeys(data), which, systemClock.nowMs(), all);
  const usage = existsSync(join(data, 'log')) ? await operate(data, 'keys/usage', {}) : [];
  const told = keys.map((key) => ({
    ...key,
    usage: usage.filter(({ keyId }) => keyId === key.id),
  }));
  if (json) return console.log(JSON.stringify(told));
  for (const { id, name, usage: uses } of told) {
    console.log(
      `${id} (${name}) would be revoked; ${uses.length === 0 ? 'nobody used it' : 'used:'}`,
    );
    if (uses.length === 0) continue;
    const rows = uses.map(({ database, table: tableName, events, lately, lastAtMs }) => {
      return [`${database}.${tableName}`, events, lately, timeText(lastAtMs).slice(0, 16)];
    });
    console.log(table(['table', 'events', 'in 24 h', 'last used'], rows));
  }
}

function usedBy(usage: readonly KeyUsage[], { id }: KeyEntry): Used | undefined {
  const own = usage.filter(({ keyId }) => keyId === id);
  if (own.length === 0) return undefined;
  const events = own.reduce((sum, { events: some }) => sum + some, 0);
  return { events, lastAtMs: Math.max(...own.map(({ lastAtMs }) => lastAtMs)) };
}

/** Known only to say why there is no such thing. */
function fromFingerprint(): Option {
  return new Option('--from-fingerprint <hex>').hideHelp().argParser(() => {
    throw fault('FINGERPRINT_GIVEN');
  });
}

function mustBeThere(data: string): void {
  if (existsSync(data)) return;
  const hint = 'Check --data, or make a key: millrace keys create --database DB';
  throw fault('BAD_USAGE', { seen: `no data directory ${data}`, hint });
}

function sayIfUnused(data: string): void {
  if (!existsSync(join(data, 'log'))) console.log(`No server has run in ${data} yet.`);
}

/** What is asked of a request at once. */
function rulesText({ strict, origins }: KeyEntry): string {
  return [...(strict ? ['strict'] : []), ...(origins ?? [])].join(' ');
}

function stateText(key: KeyEntry, nowMs: number): string {
  const state = stateOf(key, nowMs);
  if (state === 'revoked') return `revoked ${key.revokedAt}`;
  if (state === 'expired') return `expired ${key.expiresAt}`;
  return key.expiresAt === undefined ? state : `expires ${key.expiresAt}`;
}

function mayText(key: KeyEntry): string {
  const until = key.expiresAt === undefined ? '' : ` until ${key.expiresAt}`;
  return `${key.id} may write to ${scopeText(key)}${until}`;
}

function scopeText({ database, table: tableName }: KeyEntry): string {
  return `${database}.${tableName ?? '*'}`;
}
