import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { fault, MillraceError, nodeDisk, randomIds, systemClock } from '../base/index.ts';
import { checkDatabase, checkTable } from '../event/index.ts';
import { invocation } from '../config.ts';
import { createKey, type KeyEntry, listKeys, revokeKey } from '../keys/index.ts';
import { defineCommand } from './command.ts';
import { table } from './render.ts';

const create = defineCommand('create', {
  summary: 'make a write key; it is shown once',
  settings: ['data', 'database', 'table', 'name', 'origins', 'strictKey', 'json'],
  examples: [
    'keys create --database shop --name "web shop"',
    'keys create --database shop --table orders --json',
    'keys create --database shop --origins https://shop.example --strict-key',
  ],
  run: async ({ data, database, table: tableName, name, origins, strictKey, json }) => {
    if (database === undefined) {
      throw fault('BAD_USAGE', {
        seen: '--database is missing: which database may the key write to?',
        hint: 'For example: millrace keys create --database shop',
      });
    }
    const scope = {
      database: database === '*' ? database : checked(checkDatabase(database)),
      ...(tableName === undefined ? {} : { table: checked(checkTable(tableName)) }),
      ...(name === undefined ? {} : { name }),
      ...(origins === undefined ? {} : { origins: origins.map(checkedOrigin) }),
      ...(strictKey ? { strict: true } : {}),
    };
    await nodeDisk.makeDirectory(data);
    const { key, entry } = await createKey(data, scope, randomIds, systemClock.nowMs());
    if (json) return console.log(JSON.stringify({ key, ...entry }));
    console.log(`${key}\n`);
    console.log(`The key ${entry.id} may write to ${scopeText(entry)}. It is not shown again.`);
    if (!existsSync(join(data, 'log'))) console.log(`No server has run in ${data} yet.`);
  },
});

const headings = ['id', 'name', 'may write to', 'created', 'state', 'rules', 'fingerprint'];

const list = defineCommand('list', {
  summary: 'list the keys, without the keys themselves',
  settings: ['data', 'json'],
  examples: ['keys list', 'keys list --json'],
  run: async ({ data, json }) => {
    const keys = await listKeys(data);
    if (json) return console.log(JSON.stringify(keys));
    if (keys.length === 0)
      return console.log(`no keys yet: ${invocation()} keys create --database DB`);
    const rows = keys.map((key) => [
      key.id,
      key.name,
      scopeText(key),
      key.createdAt,
      key.revokedAt ? `revoked ${key.revokedAt}` : 'in force',
      rulesText(key),
      key.fingerprint.slice(0, 12),
    ]);
    console.log(table(headings, rows));
  },
});

const revoke = defineCommand('revoke', {
  summary: 'revoke a key; what is not loaded yet goes to quarantine',
  settings: ['data', 'json'],
  argument: '<id-or-name>',
  examples: ['keys revoke k_0a1b2c3d4e', 'keys revoke "web shop"'],
  run: async ({ data, json }, which = '') => {
    const revoked = await revokeKey(data, which, systemClock.nowMs());
    if (json) return console.log(JSON.stringify(revoked));
    for (const key of revoked) console.log(`revoked ${key.id} (${key.name})`);
  },
});

export const keysCommand = new Command('keys')
  .description('make, list and revoke write keys; works with and without a running server')
  .addCommand(create)
  .addCommand(list)
  .addCommand(revoke)
  .addHelpText(
    'after',
    `\nExamples:\n  ${invocation()} keys create --database shop\n  ${invocation()} keys list`,
  );

function checked(name: string | MillraceError): string {
  if (name instanceof MillraceError) throw name;
  return name;
}

/** What is asked of a request at once. */
function rulesText({ strict, origins }: KeyEntry): string {
  return [...(strict ? ['strict'] : []), ...(origins ?? [])].join(' ');
}

function checkedOrigin(text: string): string {
  const isOrigin = URL.canParse(text) && new URL(text).origin === text;
  if (isOrigin) return text;
  const seen = `--origins: "${text}" is no origin`;
  throw fault('BAD_USAGE', { seen, hint: 'An origin looks like https://shop.example' });
}

function scopeText({ database, table: tableName }: KeyEntry): string {
  return `${database}.${tableName ?? '*'}`;
}
