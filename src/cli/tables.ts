import { Command } from 'commander';
import { fault } from '../base/index.ts';
import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { operate } from './door.ts';
import { tableNameOf } from './input.ts';

const drop = defineCommand('drop', {
  summary: 'remove a table and its rows; events on their way to it go to quarantine',
  settings: ['data', 'yes', 'json'],
  argument: '<db.table>',
  examples: ['tables drop shop.trial --yes'],
  run: async ({ data, yes, json }, name = '') => {
    const asked = tableNameOf(name);
    if (!yes) {
      const seen = `${name} and its rows would be removed for good: say --yes`;
      throw fault('BAD_USAGE', { seen, hint: `First look: millrace columns list ${name}` });
    }
    const done = await operate(data, 'tables/drop', asked);
    console.log(json ? JSON.stringify(done) : `${name} is dropped; a new event makes it anew`);
  },
});

export const tablesCommand = new Command('tables')
  .description('remove tables; what there is of them, status shows')
  .addCommand(drop)
  .addHelpText('after', `\nExamples:\n  ${invocation()} tables drop shop.trial --yes`);
