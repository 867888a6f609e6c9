import { systemClock } from '../base/index.ts';
import { defineCommand } from './command.ts';
import { operate } from './door.ts';
import { tableNameOf, timeOf } from './input.ts';
import { Progress } from './progress.ts';
import { count, table } from './render.ts';

export const reloadCommand = defineCommand('reload', {
  summary: 'derive the rows of a table anew from the exact bytes of their events, with new types',
  settings: ['data', 'since', 'dryRun', 'json'],
  help: { since: 'rows that were received before stay as they are' },
  argument: '<db.table>',
  examples: ['reload shop.orders --dry-run', 'reload shop.orders --since 7d'],
  run: async ({ data, since, dryRun, json }, name = '') => {
    const from = since && timeOf(since, '--since', systemClock.nowMs());
    const asked = { ...tableNameOf(name), since: from, dryRun };
    const progress = new Progress(`reloading ${name}`, { unit: 'bytes', json });
    const done = await operate(data, 'tables/reload', asked, progress);
    if (json) return console.log(JSON.stringify(done));
    const [were, stayed] = dryRun ? ['would be', 'would stay as they are'] : ['were', 'stayed'];
    console.log(`${count(done.derived, 'row')} ${were} derived from the bytes of their events`);
    if (done.kept > 0) console.log(`${count(done.kept, 'row')} ${stayed}: older, or without bytes`);
    if (done.columns.length === 0) return console.log('No column changes its type.');
    const rows = done.columns.map(({ column, before, after }) => [column, before, after]);
    console.log(`\n${table(['column', 'before', 'after'], rows)}`);
  },
});
