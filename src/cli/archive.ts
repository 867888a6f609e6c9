import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { operate } from './door.ts';
import { tableNameOf } from './input.ts';
import { Progress } from './progress.ts';
import { count } from './render.ts';

export const archiveCommand = defineCommand('archive', {
  summary: 'move all rows of now into Parquet files, so that other tools find them there',
  settings: ['data', 'json'],
  argument: '[db.table]',
  examples: ['archive', 'archive shop.orders'],
  run: async ({ data, json }, name) => {
    const asked = name === undefined ? {} : tableNameOf(name);
    const progress = new Progress('archiving', { unit: 'tables', json });
    const done = await operate(data, 'tables/archive', asked, progress);
    if (json) return console.log(JSON.stringify(done));
    console.log(`${count(done.rows, 'row')} moved into files of ${data}/lake`);
    console.log(`Which files: ${invocation()} query "SELECT * FROM millrace.files"`);
  },
});
