import type { Status } from '../admin/index.ts';
import { systemClock } from '../base/index.ts';
import { defineCommand } from './command.ts';
import { ask, openDoor, withRooms } from './door.ts';
import { bytes, color, table } from './render.ts';
import type { ServerFile } from './server-file.ts';

type Shown = Status & { readonly server: Omit<ServerFile, 'instance'> | null };

export const statusCommand = defineCommand('status', {
  summary: 'what is on disk, what waits, and what is in the tables',
  settings: ['data', 'json'],
  examples: ['status', 'status --json'],
  run: async ({ data, json }) => {
    const status = await readShown(data);
    console.log(json ? JSON.stringify(status) : draw(status));
  },
});

async function readShown(data: string): Promise<Shown> {
  const door = await openDoor(data);
  if (door.kind === 'server') {
    const { instance: _, ...server } = door.server;
    const response = await ask(door.server, 'GET', '/status');
    return { server, ...((await response.json()) as Status) };
  }
  try {
    return await withRooms(door.config, async ({ store, loader }) => {
      const { readStatus } = await import('../admin/index.ts');
      return { server: null, ...(await readStatus(data, store, loader, [], systemClock.nowMs())) };
    });
  } finally {
    door.close();
  }
}

function draw(status: Shown): string {
  const { server, disk, waiting, tables } = status;
  const { keysError, quarantinedEvents: parked } = status;
  const keys = keysError ? color('red', keysError) : `${status.keysInForce} in force`;
  const lines = [
    server
      ? `${color('green', 'running')}     ${server.ingest} since ${server.startedAt}`
      : 'no server is running',
    `data        ${status.dataDirectory}`,
    `on disk     log ${bytes(disk.logBytes)}, store ${bytes(disk.storeBytes)}, ` +
      `free ${bytes(disk.freeBytes)}`,
    `waiting     ${bytes(waiting.bytes)}, the oldest for ${(waiting.lagMs / 1000).toFixed(1)} s` +
      (waiting.failing ? color('red', ' — loading fails, see the log of the server') : ''),
    `keys        ${keys}`,
    `quarantine  ${parked} ${parked === 1 ? 'event' : 'events'}` +
      (parked > 0 ? ': SELECT * FROM millrace.quarantine' : ''),
  ];
  const full = status.edges.filter(({ hasRoom }) => !hasRoom);
  if (full.length > 0)
    lines.push(color('red', 'the disk has no room: events are refused with 503'));
  if (tables.length === 0) return lines.join('\n');
  const rows = tables.map(({ database, table: name, rows: count, columns }) => [
    `${database}.${name}`,
    count,
    columns,
  ]);
  return [...lines, '', table(['table', 'rows', 'columns'], rows)].join('\n');
}
