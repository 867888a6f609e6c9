import { existsSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import type { OperationInput, OperationName, OperationResult } from '../admin/index.ts';
import type { Workplace } from '../admin/index.ts';
import type { Rooms } from '../app.ts';
import { catalogue, fault, type FaultCode, isFault, sleep } from '../base/index.ts';
import { patient, type ProgressReport, type Task } from '../base/index.ts';
import type { RoomsConfig } from '../config.ts';
import { takeLocks } from './locks.ts';
import type { Progress } from './progress.ts';
import { readServerFile, type ServerFile } from './server-file.ts';

/** A way to the data: the running server, or the closed data directory in this process. */
export type Door =
  | { readonly kind: 'server'; readonly server: ServerFile }
  | { readonly kind: 'directory'; readonly config: RoomsConfig; readonly close: () => void };

const waitMs = 10_000;
const healthTimeoutMs = 5_000;

/**
 * Finds the server that holds a data directory, or takes the directory when none does. Waits a
 * while for a server that is starting or stopping.
 * @throws BAD_SETTING, NO_ANSWER
 */
export async function openDoor(dataDirectory: string): Promise<Door> {
  mustHaveData(dataDirectory);
  for (const startedAtMs = Date.now(); ; ) {
    const server = readServerFile(dataDirectory);
    if (server && (await isThere(server))) return { kind: 'server', server };
    try {
      const close = await takeLocks(dataDirectory, 'all');
      return { kind: 'directory', config: closedConfig(dataDirectory), close };
    } catch (error) {
      if (!isFault(error, 'LOCKED')) throw error;
      if (Date.now() - startedAtMs > waitMs)
        throw fault('NO_ANSWER', { seen: dataDirectory }, error);
      await sleep(100);
    }
  }
}

/** @throws BAD_USAGE when it is no data directory */
export function mustHaveData(dataDirectory: string): void {
  if (existsSync(join(dataDirectory, 'log'))) return;
  throw fault('BAD_USAGE', {
    seen: `no data in ${dataDirectory}: no server has run there`,
    hint: 'Check --data, or start one: millrace serve',
  });
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

/**
 * Does what an operator asks for: in the running server, or on the closed data directory.
 * @param progress shows how far it is, if the operation tells that; ended with it.
 */
export async function operate<N extends OperationName>(
  dataDirectory: string,
  name: N,
  asked: OperationInput<N>,
  progress?: Progress,
): Promise<OperationResult<N>> {
  try {
    return await operateWatched(dataDirectory, name, asked, progress?.show ?? patient.progress);
  } finally {
    progress?.end();
  }
}

async function operateWatched<N extends OperationName>(
  dataDirectory: string,
  name: N,
  asked: OperationInput<N>,
  progress: Task['progress'],
): Promise<OperationResult<N>> {
  const door = await openDoor(dataDirectory);
  if (door.kind === 'server') {
    const accept = 'application/x-ndjson';
    const answer = await ask(door.server, 'POST', `/${name}`, asked, { accept });
    return (await resultOf(answer, progress)) as OperationResult<N>;
  }
  try {
    return await withRooms(door.config, async (rooms) => {
      const { operations } = await import('../admin/index.ts');
      const run = operations[name] as (
        place: Workplace,
        asked: unknown,
        task: Task,
      ) => Promise<unknown>;
      const marks = () => Promise.resolve(rooms.orphans);
      const task = { ...patient, progress };
      return (await run({ ...rooms, marks }, asked, task)) as OperationResult<N>;
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
  return askJson<OperationResult<N>>(server, 'POST', `/${name}`, asked);
}

/** The same as `ask`, for an answer that is one value of JSON. */
export async function askJson<T>(...asked: Parameters<typeof ask>): Promise<T> {
  return (await json(await ask(...asked))) as T;
}

type Method = 'GET' | 'POST' | 'DELETE';

/**
 * Asks a running server, and waits for its answer as long as the connection stands.
 * @throws what the server says, by its code
 */
export async function ask(
  { admin, instance }: ServerFile,
  method: Method,
  path: string,
  body?: unknown,
  { accept = 'application/json', timeoutMs = 0 } = {},
): Promise<IncomingMessage> {
  const headers = {
    'x-millrace-instance': instance,
    accept,
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  };
  const signal = timeoutMs > 0 ? { signal: AbortSignal.timeout(timeoutMs) } : {};
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    // Not `fetch`: it gives up on an answer that takes minutes to begin.
    request(admin + path, { method, headers, agent: false, ...signal }, resolve)
      .once('error', reject)
      .end(body === undefined ? undefined : JSON.stringify(body));
  });
  if (answer.statusCode === 200) return answer;
  throw saidFault((await json(answer)) as Said);
}

/** An error as the server says it. */
type Said = { readonly error: string; readonly code?: string; readonly hint?: string };

export function saidFault({ error, code, hint }: Said): Error {
  const known = code !== undefined && code in catalogue ? (code as FaultCode) : 'QUERY_FAILED';
  return Object.assign(fault(known), { message: error, hint });
}

/** The end of an answer that tells how far it is. @throws what the server says; NO_ANSWER */
async function resultOf(answer: IncomingMessage, progress: Task['progress']): Promise<unknown> {
  type Line = Partial<Said> & { readonly progress?: ProgressReport; readonly result?: unknown };
  try {
    for await (const text of linesOf(answer.setEncoding('utf8'))) {
      const line = JSON.parse(text) as Line;
      if (line.error !== undefined) throw saidFault(line as Said);
      if (line.progress === undefined) return line.result;
      progress(line.progress);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error;
  }
  // It was stopped or killed on the way.
  throw fault('NO_ANSWER', { seen: 'the data' });
}

/** Text in pieces, line by line. @throws what the pieces throw */
export async function* linesOf(pieces: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = '';
  for await (const piece of pieces) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') yield rest;
}

async function isThere(server: ServerFile): Promise<boolean> {
  return askJson(server, 'GET', '/healthz', undefined, { timeoutMs: healthTimeoutMs }).then(
    () => true,
    () => false,
  );
}

/** No edges: every shard is recovered and loaded by this process. */
export function closedConfig(data: string): RoomsConfig {
  // What goes from quarantine, and when, is the server's to say.
  const kept = { quarantineBytes: Number.MAX_SAFE_INTEGER, quarantineDays: 36_500 };
  const quiet = { logLevel: 'error', alarmWebhook: undefined } as const;
  return { data, edges: 0, diskReserve: 0, ...kept, ...quiet };
}
