import { mkdir } from 'node:fs/promises';
import { createLogger, Metrics, nodeDisk, randomIds, systemClock } from '../src/base/index.ts';
import { encodeSubmission, fingerprintOf } from '../src/event/index.ts';
import { createKey } from '../src/keys/index.ts';
import { openShard } from '../src/log/index.ts';
import { eventBytes, firstId, writeEvent } from './events.ts';
import type { Loaded, Times } from './load-log.ts';
import type { Fate, Way } from './ways.ts';

/** A closed data directory with a log that nobody has loaded, and what must be found then. */
export type PreparedLog = {
  readonly name: string;
  readonly data: string;
  readonly expected: Omit<Loaded, keyof Times>;
};

/** Every so many-th event is a misfit. */
const oneIn = 100;
const eventsPerSecond = 10_000;
const appendedAtOnce = 10_000;
const database = 'bench';

/** Writes events to a log as an edge does, the misfits in these ways in turn. */
export async function prepareLog(
  name: string,
  data: string,
  events: number,
  ways: readonly Way[],
): Promise<PreparedLog> {
  const startMs = systemClock.nowMs() - (events / eventsPerSecond) * 1_000;
  await mkdir(data);
  const { key } = await createKey(data, { database }, randomIds, startMs);
  const fingerprint = fingerprintOf(key);
  const wayAt = (index: number) => {
    const isMisfit = index < events && index % oneIn === oneIn - 1;
    return isMisfit ? ways[Math.floor(index / oneIn) % ways.length] : undefined;
  };
  const fates: Fate[] = [];
  const recordAt = (index: number) => {
    const way = wayAt(index);
    fates.push(way?.fate ?? 'row');
    const first = way?.hasOldId ? firstOf(index) : index;
    const hasId = way?.hasOldId || wayAt(againOf(index))?.hasOldId;
    const event = eventText(way?.fate === 'repeat' ? first : index);
    return encodeSubmission({
      dialect: 'postback',
      receivedAtMs: Math.floor(startMs + (index / eventsPerSecond) * 1_000),
      fingerprint: way?.fingerprint ?? fingerprint,
      context: hasId ? { idempotencyKey: String(first) } : {},
      groups: [
        {
          database: way?.database ?? database,
          table: 'events',
          bodies: [Buffer.from(way?.write(event) ?? event)],
        },
      ],
    });
  };
  const { log, close } = await openLog(data);
  for (let from = 0; from < events; from += appendedAtOnce) {
    const count = Math.min(appendedAtOnce, events - from);
    const appended = Array.from({ length: count }, (_, at) => log.append(recordAt(from + at)));
    await Promise.all(appended);
  }
  await close();
  return { name, data, expected: expectedOf(fates) };
}

/** Which event has an id first that comes again with a misfit: one that fits, of any age. */
function firstOf(index: number): number {
  return (index - 3) / 2;
}

function againOf(index: number): number {
  return 2 * index + 3;
}

function eventText(index: number): string {
  const bytes = Buffer.alloc(eventBytes);
  writeEvent(bytes, 0, firstId + index);
  return bytes.toString();
}

export function openLog(data: string) {
  const seams = { disk: nodeDisk, clock: systemClock, ids: randomIds };
  const tools = { logger: createLogger('error', 'bench'), metrics: new Metrics('bench') };
  const onFatal = (error: unknown) => {
    throw error;
  };
  return openShard({ ...seams, ...tools, dataDirectory: data, shard: 0, reserveBytes: 0, onFatal });
}

function expectedOf(fates: readonly Fate[]): PreparedLog['expected'] {
  const count = new Map<Fate, number>();
  for (const fate of fates) count.set(fate, (count.get(fate) ?? 0) + 1);
  const { row = 0, rescued = 0, repeat: repeats = 0, ...quarantined } = Object.fromEntries(count);
  return { rows: row + rescued, rescued, repeats, quarantined };
}
