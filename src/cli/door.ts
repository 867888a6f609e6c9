import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { OperationInput, OperationName, OperationResult } from '../admin/index.ts';
import type { Workplace } from '../admin/index.ts';
import type { Rooms } from '../app.ts';
import { catalogue, DirectoryLock, fault, type FaultCode, isFault, sleep } from '../base/index.ts';
import type { RoomsConfig } from '../config.ts';
import { readServerFile, type ServerFile } from './server-file.ts';

/** A way to the data: the running server, or the closed data directory in this process. */
export type Door =
  | { readonly kind: 'server'; readonly server: ServerFile }
  | { readonly kind: 'directory'; readonly config: RoomsConfig; readonly close: () => void };

const waitMs = 10_000;

/**
 * Finds the server that holds a data directory, or takes the directory when none does. Waits a
 * while for a server that is starting or stopping.
 * @throws BAD_SETTING, NO_ANSWER
 */
export async function openDoor(dataDirectory: string): Promise<Door> {
  if (!existsSync(join(dataDirectory, 'log'))) {
    throw fault('BAD_USAGE', {
      seen: `no data in ${dataDirectory}: no server has run there`,
      hint: 'Check --data, or start one: millrace serve',
    });
  }
  for (const startedAtMs = Date.now(); ; ) {
    const server = readServerFile(dataDirectory);
    if (server && (await isThere(server))) return { kind: 'server', server };
    try {
      const lock = await DirectoryLock.take(join(dataDirectory, 'LOCK'), () => 'a server');
      const close = () => lock.release();
      return { kind: 'directory', config: closedConfig(dataDirectory), close };
    } catch (error) {
      if (!isFault(error, 'LOCKED')) throw error;
      if (Date.now() - startedAtMs > waitMs)
        throw fault('NO_ANSWER', { seen: dataDirectory }, error);
      await sleep(100);
    }
  }
}

/** Opens the rooms over a closed data directory, with all of its log loaded, and uses them. */
export async function withRooms<T>(
  config: RoomsConfig,
  use: (rooms: Rooms) => Promise<T>,
): Promise<T> {
  const { openRooms } = await import('../app.ts');
  const rooms = await openRooms(config);
  try {
    await rooms.loader.flush(rooms.orphans);
    return await use(rooms);
  } finally {
    await rooms.close();
  }
}

/** Does what an operator asks for: in the running server, or on the closed data directory. */
export async function operate<N extends OperationName>(
  dataDirectory: string,
  name: N,
  asked: OperationInput<N>,
): Promise<OperationResult<N>> {
  const door = await openDoor(dataDirectory);
  if (door.kind === 'server') {
    const response = await ask(door.server, 'POST', `/${name}`, asked);
    return (await response.json()) as OperationResult<N>;
  }
  try {
    return await withRooms(door.config, async (rooms) => {
      const { operations } = await import('../admin/index.ts');
      const run = operations[name] as (place: Workplace, asked: unknown) => Promise<unknown>;
      const askEdges = () => Promise.resolve([]);
      return (await run({ ...rooms, askEdges }, asked)) as OperationResult<N>;
    });
  } finally {
    door.close();
  }
}

/** The same where a server runs; undefined where none does, or does not answer. */
export async function operateIfRunning<N extends OperationName>(
  dataDirectory: string,
  name: N,
  asked: OperationInput<N>,
): Promise<OperationResult<N> | undefined> {
  const server = readServerFile(dataDirectory);
  if (!server || !(await isThere(server))) return undefined;
  const response = await ask(server, 'POST', `/${name}`, asked);
  return (await response.json()) as OperationResult<N>;
}

/** Asks a running server. @throws what the server says, by its code */
export async function ask(
  { admin, instance }: ServerFile,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
): Promise<Response> {
  const response = await fetch(admin + path, {
    method,
    headers: {
      'x-millrace-instance': instance,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (response.ok) return response;
  const { error, code, hint } = (await response.json()) as Record<string, string>;
  const known = code !== undefined && code in catalogue ? (code as FaultCode) : 'QUERY_FAILED';
  throw Object.assign(fault(known), { message: error, hint });
}

async function isThere(server: ServerFile): Promise<boolean> {
  return ask(server, 'GET', '/healthz').then(
    () => true,
    () => false,
  );
}

/** No edges: every shard is recovered and loaded by this process. */
function closedConfig(data: string): RoomsConfig {
  // What goes from quarantine, and when, is the server's to say.
  const kept = { quarantineBytes: Number.MAX_SAFE_INTEGER, quarantineDays: 36_500 };
  const quiet = { logLevel: 'error', alarmWebhook: undefined } as const;
  return { data, edges: 0, diskReserve: 0, ...kept, ...quiet };
}
