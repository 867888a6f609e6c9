import type { Status } from '../admin/index.ts';
import { systemClock } from '../base/index.ts';
import { invocation } from '../config.ts';
import { defineCommand } from './command.ts';
import { askJson, openDoor, withRooms } from './door.ts';
import { bytes, color, count, table } from './render.ts';
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
    return { server, ...(await askJson<Status>(door.server, 'GET', '/status')) };
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

function ledgerText({ ledger }: Shown): string {
  if (ledger.events === 0) return 'right: every event is where it must be';
  const where = ledger.where.map((place) => `\n              ${place}`).join('');
  return color('red', `wrong by ${count(ledger.events, 'event')}`) + where;
}

const failuresShown = 3;

/** Senders whose key is wrong do not know: they got a 200. */
function failureLines({ authFailures }: Shown): readonly string[] {
  const shown = authFailures.slice(0, failuresShown).map((group) => {
    const { reason, fingerprint, database, table: name, events, lastAtMs } = group;
    const last = new Date(lastAtMs).toISOString();
    const text = `${reason} ${fingerprint.slice(0, 12)} to ${database}.${name}: `;
    return color('red', `            ${text}${count(events, 'event')}, last ${last}`);
  });
  const more = authFailures.length > failuresShown ? ['            and others'] : [];
  return [...shown, ...more];
}

function draw(status: Shown): string {
  const { server, disk, waiting, tables } = status;
  const { keysError, quarantinedEvents: parked } = status;
  const address = server?.ingest ?? server?.admin;
  const keys = keysError ? color('red', keysError) : `${status.keysInForce} in force`;
  const lines = [
    server
      ? `${color('green', 'running')}     ${address} since ${server.startedAt}`
      : 'no server is running',
    `data        ${status.dataDirectory}`,
    `on disk     log ${bytes(disk.logBytes)}, store ${bytes(disk.storeBytes)}, ` +
      `lake ${bytes(disk.lakeBytes)} in ${count(disk.lakeFiles, 'file')}, ` +
      `free ${bytes(disk.freeBytes)}`,
    ...(disk.rawBytes > 0 ? [`raw         ${bytes(disk.rawBytes)} since ${disk.rawSince}`] : []),
    `waiting     ${waiting.events === undefined ? '' : `${count(waiting.events, 'event')}, `}` +
      `${bytes(waiting.bytes)}, the oldest for ${(waiting.lagMs / 1000).toFixed(1)} s` +
      (waiting.failing ? color('red', ' — loading fails, see the log of the server') : ''),
    `keys        ${keys}`,
    `complete    ${status.completeTo === '' ? 'not known yet' : `to ${status.completeTo}`}`,
    `ledger      ${ledgerText(status)}`,
    `quarantine  ${count(parked, 'event')}` +
      (parked > 0 ? `: ${invocation()} quarantine list` : ''),
    ...failureLines(status),
  ];
  const full = status.edges.filter(({ hasRoom }) => !hasRoom);
  if (full.length > 0)
    lines.push(color('red', 'the disk has no room: events are refused with 503'));
  for (const path of status.missingFiles) lines.push(color('red', `missing     lake/${path}`));
  if (tables.length === 0) return lines.join('\n');
  const rows = tables.map(({ database, table: name, rows: filled, columns }) => [
    `${database}.${name}`,
    filled,
    columns,
  ]);
  return [...lines, '', table(['table', 'rows', 'columns'], rows)].join('\n');
}
