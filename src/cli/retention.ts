import { Command } from 'commander';
import { fault } from '../base/index.ts';
import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { operate } from './door.ts';
import { secondsOf } from './input.ts';
import { table } from './render.ts';

const list = defineCommand('list', {
  summary: 'how long rows are kept',
  settings: ['data', 'json'],
  examples: ['retention list'],
  run: async ({ data, json }) => {
    const retentions = await operate(data, 'retention/list', {});
    if (json) return console.log(JSON.stringify(retentions));
    if (retentions.length === 0) return console.log('every row is kept');
    const rows = retentions.map((one) => [`${one.database}.${one.table}`, spanText(one.seconds)]);
    console.log(table(['table', 'kept'], rows));
  },
});

const set = defineCommand('set', {
  summary: 'remove rows once their time is so long ago; of a table, or of all of a database',
  settings: ['data', 'json'],
  argument: '<db.table> <span>',
  examples: [
    'retention set shop.orders 90d',
    'retention set shop 400d',
    'retention set shop.log 12h',
  ],
  run: async ({ data, json }, name = '', span = '') => {
    const done = await operate(data, 'retention/set', {
      ...placeOf(name),
      seconds: secondsOf(span),
    });
    if (json) return console.log(JSON.stringify(done));
    console.log(`rows of ${name} are kept for ${span}; in files up to a day longer`);
  },
});

const clear = defineCommand('clear', {
  summary: 'keep every row from now on',
  settings: ['data', 'json'],
  argument: '<db.table>',
  examples: ['retention clear shop.orders', 'retention clear shop'],
  run: async ({ data, json }, name = '') => {
    const done = await operate(data, 'retention/set', placeOf(name));
    console.log(json ? JSON.stringify(done) : `rows of ${name} have no retention of their own`);
  },
});

/** A table, or a database. @throws BAD_USAGE */
function placeOf(text: string): { readonly database: string; readonly table?: string } {
  const [, database, name] = /^(\w+)(?:\.(\w+|\*))?$/.exec(text.toLowerCase()) ?? [];
  if (database === undefined) {
    const seen = `"${text.slice(0, 80)}" is neither a database nor a table`;
    throw fault('BAD_USAGE', { seen, hint: 'For example: shop, or shop.orders' });
  }
  return name === undefined ? { database } : { database, table: name };
}

function spanText(seconds: number): string {
  const units: readonly (readonly [string, number])[] = [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
  ];
  const [unit, length] = units.find(([, one]) => seconds % one === 0) ?? ['s', 1];
  return `${seconds / length}${unit}`;
}

export const retentionCommand = new Command('retention')
  .description('how long rows are kept, by table and database')
  .addCommand(set)
  .addCommand(list)
  .addCommand(clear)
  .addHelpText('after', `\nExamples:\n  ${invocation()} retention set shop.orders 90d`);
