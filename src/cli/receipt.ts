import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { operate } from './door.ts';

export const receiptCommand = defineCommand('receipt', {
  summary: 'what became of an event, by the receipt in the answer to its request',
  settings: ['data', 'json'],
  argument: '<receipt>',
  examples: ['receipt 0-000000000012345', 'receipt 0-000000000012345+512 --json'],
  run: async ({ data, json }, receipt = '') => {
    const status = await operate(data, 'receipts/show', { receipt });
    if (json) return console.log(JSON.stringify(status));
    console.log(`${receipt} is ${status.state}: ${meaning[status.state]}`);
    for (const { receipt: one, database, table, reason } of status.events) {
      const where =
        reason === undefined ? `a row of ${database}.${table}` : `quarantine: ${reason}`;
      console.log(`  ${one}  ${where}`);
    }
    if (status.state === 'quarantined') {
      console.log(`Its bytes: ${invocation()} quarantine show ${receipt}`);
    }
  },
});

const meaning = {
  durable: 'on disk, on its way to its table',
  queryable: 'SQL finds it',
  quarantined: 'kept with its exact bytes, and the reason',
  mixed: 'its request had many events; not all of them have rows',
  unknown: 'not given by this server, a repeat of another event, or removed since',
};
