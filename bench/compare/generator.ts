import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { eventBytes, firstId, writeEvent } from '../events.ts';
import { database, type Target } from '../load.ts';
import { LoadThread } from '../load-thread.ts';
import { versionOf } from './programs.ts';

/** Where a load goes. */
export type Door = Pick<Target, 'host' | 'port' | 'key'>;
export type Shape = { readonly connections: number; readonly eventsPerRequest: number };

export type Closed = { readonly acknowledged: number; readonly elapsedMs: number };

/** Sends as fast as it is answered. */
export type Generator = {
  readonly name: string;
  /** @throws when a request is refused or a connection breaks: then there is no ceiling. */
  readonly closedLoop: (door: Door, shape: Shape, seconds: number) => Promise<Closed>;
};

/** Of bodies that are sent in turn. */
const eventsOfFile = 8_192;
const script = fileURLToPath(new URL('wrk.lua', import.meta.url));

/** `wrk` if it is there, which takes less of its core than ours; else ours. */
export async function findGenerator(folder: string): Promise<Generator> {
  const version = await versionOf('wrk', ['--version'], /wrk\s+(?:debian\/)?(\S+)/);
  if (version === undefined) {
    const name = 'a closed loop of our own (wrk was not found; Debian: apt-get install wrk)';
    return { name, closedLoop: ownClosedLoop };
  }
  return {
    name: `wrk ${version}`,
    closedLoop: (door, shape, seconds) => wrk(folder, door, shape, seconds),
  };
}

async function wrk(folder: string, door: Door, shape: Shape, seconds: number): Promise<Closed> {
  const { connections, eventsPerRequest: events } = shape;
  const file = join(folder, `bodies-${events}`);
  await writeFile(file, bodies(events));
  const url = `http://${door.host}:${door.port}${database}events`;
  const load = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '--timeout', '10s'];
  const form = [file, `application/${events > 1 ? 'x-ndjson' : 'json'}`, door.key];
  const { stdout } = await promisify(execFile)('wrk', [...load, '-s', script, url, '--', ...form]);
  const found = JSON.parse(/^found (.*)$/m.exec(stdout)?.[1] ?? 'null') as {
    readonly answers: number;
    readonly elapsedMs: number;
    readonly refused: number;
    readonly broken: number;
  } | null;
  if (!found || found.refused + found.broken > 0) throw new Error(`not all was taken: ${stdout}`);
  return { acknowledged: found.answers * events, elapsedMs: found.elapsedMs };
}

async function ownClosedLoop(door: Door, shape: Shape, seconds: number): Promise<Closed> {
  const load = await LoadThread.open({ ...door, ...shape });
  try {
    const { sent, refusedIds, elapsedMs } = await load.run({ seconds });
    if (refusedIds.length > 0) throw new Error(`${refusedIds.length} events were refused`);
    return { acknowledged: sent, elapsedMs };
  } finally {
    await load.close();
  }
}

function bodies(eventsPerRequest: number): Buffer {
  const bytes = Buffer.alloc(eventsOfFile * (eventBytes + 1), '\n');
  for (let index = 0; index < eventsOfFile; index += 1) {
    writeEvent(bytes, index * (eventBytes + 1), firstId + index);
    if ((index + 1) % eventsPerRequest === 0) bytes[(index + 1) * (eventBytes + 1) - 1] = 0;
  }
  const whole = eventsOfFile - (eventsOfFile % eventsPerRequest);
  return bytes.subarray(0, whole * (eventBytes + 1));
}
