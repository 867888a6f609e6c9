import { Command } from 'commander';
import type { OperationInput } from '../admin/index.ts';
import { fault } from '../base/index.ts';
import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { operate } from './door.ts';
import { tableNameOf } from './input.ts';
import { count, table, timeText } from './render.ts';

type ColumnType = OperationInput<'columns/set-type'>['type'];
const types: readonly ColumnType[] = ['BIGINT', 'DOUBLE', 'BOOLEAN', 'VARCHAR', 'JSON'];

const list = defineCommand('list', {
  summary: 'the columns of a table: types, rows with a value, and what did not fit',
  settings: ['data', 'json'],
  argument: '<db.table>',
  examples: ['columns list shop.orders'],
  run: async ({ data, json }, name = '') => {
    const columns = await operate(data, 'columns/list', tableNameOf(name));
    if (json) return console.log(JSON.stringify(columns));
    const headings = ['column', 'type', 'since', 'rows', 'rescued', 'for example'];
    const rows = columns.map(({ column, type, sinceMs, rows: filled, rescued, examples }) => {
      return [column, type, timeText(sinceMs), filled, rescued, examples.join('  ')];
    });
    console.log(table(headings, rows));
    const misfit = columns.find(({ rescued }) => rescued > 0);
    if (misfit) {
      const again = `${invocation()} columns set-type ${name} ${misfit.column} VARCHAR`;
      console.log(`\nRescued values are in _rescued_data. To take them in: ${again}`);
    }
  },
});

const setType = defineCommand('set-type', {
  summary: 'change the type of a column; rescued values that fit it come back',
  settings: ['data', 'json'],
  argument: '<db.table> <column> <type>',
  examples: ['columns set-type shop.orders price VARCHAR', 'columns set-type shop.orders n DOUBLE'],
  run: async ({ data, json }, name = '', column = '', typeName = '') => {
    const type = types.find((one) => one === typeName.toUpperCase());
    if (!type) {
      const seen = `"${typeName.slice(0, 40)}" is no type of a column`;
      throw fault('BAD_USAGE', { seen, hint: `Types: ${types.join(', ')}` });
    }
    const asked = { ...tableNameOf(name), column: column.toLowerCase(), type };
    const done = await operate(data, 'columns/set-type', asked);
    if (json) return console.log(JSON.stringify(done));
    console.log(`${name} ${column} is ${type} now`);
    console.log(`${count(done.restored, 'value')} came back from _rescued_data`);
    if (done.rescued > 0) console.log(`${count(done.rescued, 'value')} did not fit and went there`);
    if (done.left > 0) console.log(`${count(done.left, 'value')} for the column are there now`);
  },
});

export const columnsCommand = new Command('columns')
  .description('look at the columns of a table, and change their types')
  .addCommand(list)
  .addCommand(setType)
  .addHelpText(
    'after',
    `\nExamples:\n  ${invocation()} columns list shop.orders\n` +
      `  ${invocation()} columns set-type shop.orders price VARCHAR`,
  );
