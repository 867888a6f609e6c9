import { defineCommand } from './command.ts';
import { operate } from './door.ts';
import { table } from './render.ts';

const barMax = 30;
/** In the order of the buckets; the first is `td_record_time` that is no time. */
const labels = [
  'no time at all',
  'over 7 days behind',
  '1 to 7 days behind',
  '1 h to 1 day behind',
  '5 min to 1 h behind',
  '1 to 5 min behind',
  '5 s to 1 min behind',
  'within 5 s',
  '5 s to 1 min ahead',
  '1 to 5 min ahead',
  '5 min to 1 h ahead',
  '1 h to 1 day ahead',
  '1 to 3 days ahead',
  'over 3 days ahead',
];
const ignored = [0, 1, labels.length - 1];

export const clocksCommand = defineCommand('clocks', {
  summary: 'how far the td_record_time of each key is from the time of receipt',
  settings: ['data', 'json'],
  examples: ['keys clocks'],
  run: async ({ data, json }) => {
    const counts = await operate(data, 'keys/clocks', {});
    if (json) return console.log(JSON.stringify(counts));
    if (counts.length === 0) return console.log('no event came with a td_record_time lately');
    for (const id of new Set(counts.map(({ keyId }) => keyId))) {
      const own = counts.filter(({ keyId }) => keyId === id);
      const sum = own.reduce((all, { events }) => all + events, 0);
      const rows = own.map(({ bucket, events }) => {
        const bar = '█'.repeat(Math.ceil((barMax * events) / sum));
        const note = ignored.includes(bucket + 1) ? 'ignored: the row has the time of receipt' : '';
        return [labels[bucket + 1], events, bar, note];
      });
      console.log(`${id}\n${table(['td_record_time', 'events', '', ''], rows)}\n`);
    }
  },
});
