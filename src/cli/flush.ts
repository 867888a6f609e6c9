import { defineCommand } from './command.ts';
import { askJson, openDoor, withRooms } from './door.ts';

export const flushCommand = defineCommand('flush', {
  summary: 'wait until all that was acknowledged is queryable',
  settings: ['data', 'json'],
  examples: ['flush', 'flush --data /var/lib/millrace'],
  run: async ({ data, json }) => {
    const door = await openDoor(data);
    if (door.kind === 'server') await askJson(door.server, 'POST', '/flush');
    else await withRooms(door.config, () => Promise.resolve()).finally(door.close);
    console.log(
      json ? JSON.stringify({ status: 'flushed' }) : 'all that was acknowledged is queryable',
    );
  },
});
