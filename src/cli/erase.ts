import { fault } from '../base/index.ts';
import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { operate } from './door.ts';
import { tableNameOf } from './input.ts';
import { Progress } from './progress.ts';
import { table } from './render.ts';

export const eraseCommand = defineCommand('erase', {
  summary: 'remove the events of a table that meet a condition, wherever they are',
  settings: ['data', 'where', 'dryRun', 'yes', 'json'],
  argument: '<db.table>',
  examples: [
    `erase shop.orders --where "email = 'ann@example.org'" --dry-run`,
    `erase shop.orders --where "email = 'ann@example.org'" --yes`,
  ],
  run: async ({ data, where, dryRun, yes, json }, name = '') => {
    const asked = tableNameOf(name);
    if (where === undefined) {
      const seen = 'which events are meant? Say it with --where';
      throw fault('BAD_USAGE', { seen, hint: `For example: --where "email = 'ann@example.org'"` });
    }
    if (!dryRun && !yes) {
      const seen = 'events would be removed for good: say --yes, or --dry-run to count them';
      throw fault('BAD_USAGE', { seen, hint: 'What was erased comes back from a backup only.' });
    }
    const progress = new Progress(`erasing from ${name}`, { unit: 'files', json });
    const done = await operate(data, 'tables/erase', { ...asked, where, dryRun }, progress);
    if (json) return console.log(JSON.stringify(done));
    const rows = Object.entries(done).map(([place, events]) => [placeNames[place], events]);
    console.log(table([dryRun ? 'would be erased' : 'erased', 'events'], rows));
    if (done.log > 0) {
      console.log(
        '\nLog records are of the same events; they go with their segment, within an hour.',
      );
      console.log(`Whether it is finished: ${invocation()} query "FROM millrace.erasures"`);
    }
  },
});

const placeNames: Readonly<Record<string, string>> = {
  hot: 'hot rows',
  files: 'rows in files',
  quarantine: 'quarantine',
  log: 'log, loaded already',
};
