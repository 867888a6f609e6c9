import { gzipSync } from 'node:zlib';
import { database, eventOf, type Lane, lanes } from './events.ts';
import { fates, type Ledger } from './ledger.ts';
import type { Random } from './random.ts';

/** How a sender behaves. */
export type Manner =
  /** It sends, and waits for the answer. */
  | 'plain'
  /** It sends its body bit by bit. */
  | 'slow'
  /** It leaves when all is sent, without the answer. */
  | 'leaving'
  /** It leaves in the middle of its body. */
  | 'cut'
  /** Its body or its key is wrong: the request must be refused. */
  | 'wrong';

/** A request with some new events. */
export type Asked = {
  readonly form: string;
  readonly manner: Manner;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: Buffer;
  /** Numbers of its events. */
  readonly first: number;
  readonly count: number;
  /** Its events have ids: without an answer it is sent again, until it has one. */
  readonly isRepeated: boolean;
};

export type Keys = Readonly<Record<Lane['key'], string>>;

const recordsMax = 40;

/** The next request of a sender. */
export function nextRequest(random: Random, ledger: Ledger, keys: Keys): Asked {
  const lane = laneOf(random);
  const form = lane.hasUuid ? 'batch' : random.pick(['single', 'single', 'lines', 'array']);
  const count = form === 'single' ? 1 : random.integer(1, recordsMax);
  const first = ledger.take(lane, count);
  const bodies = Array.from({ length: count }, (_, index) => eventOf(first + index, lane).body);
  const isKeyed = lane.key === 'good' && !lane.hasUuid && random.chance(25);
  const isRepeated = lane.hasUuid || isKeyed;
  const manner = mannerOf(random, isRepeated);
  const isKeyless = manner === 'wrong' && random.chance(50);
  const [type, text] = bodyOf(form, bodies);
  const plain = Buffer.from(manner === 'wrong' && !isKeyless ? `${text}]` : text);
  const isZipped = random.chance(25);
  const body = isZipped ? gzipSync(plain, { level: 1 }) : plain;
  const headers = {
    'Content-Type': type,
    'Content-Length': body.length,
    ...(isKeyless ? {} : { 'X-TD-Write-Key': keys[lane.key] }),
    ...(isKeyed ? { 'Idempotency-Key': `selftest-${first}` } : {}),
    ...(isZipped ? { 'Content-Encoding': 'gzip' } : {}),
  };
  const path = pathOf(form, lane);
  return { form, manner, path, headers, body, first, count, isRepeated };
}

/** Most events have a good key. */
function laneOf(random: Random): Lane {
  const [clicks, orders, visits, ...others] = lanes as [Lane, Lane, Lane, ...Lane[]];
  if (random.chance(80)) return random.pick([clicks, orders, visits]);
  return random.pick([clicks, ...others]);
}

function mannerOf(random: Random, isRepeated: boolean): Manner {
  if (random.chance(85)) return 'plain';
  // What is refused or given up is not sent again.
  return isRepeated ? 'slow' : random.pick(['slow', 'leaving', 'cut', 'wrong']);
}

function pathOf(form: string, { table }: Lane): string {
  return `${form === 'batch' ? '' : '/postback/v3/event'}/${database}/${table}`;
}

function bodyOf(form: string, bodies: readonly string[]): readonly [type: string, text: string] {
  if (form === 'lines') return ['application/x-ndjson', bodies.join('\n')];
  if (form === 'array') return ['application/json', `[${bodies.join(',')}]`];
  if (form === 'single') return ['application/json', bodies.join('')];
  const type = 'application/vnd.treasuredata.v1+json';
  return [type, `{"events":[${bodies.join(',')}]}`];
}

/** Sends one event in the plainest way. @returns the status of the answer */
export async function postOne(
  ingest: string,
  ledger: Ledger,
  lane: Lane,
  keys: Keys,
): Promise<number> {
  const number = ledger.take(lane, 1);
  const form = lane.hasUuid ? 'batch' : 'single';
  const [type, body] = bodyOf(form, [eventOf(number, lane).body]);
  const headers = { 'Content-Type': type, 'X-TD-Write-Key': keys[lane.key] };
  const url = ingest + pathOf(form, lane);
  const { status } = await fetch(url, { method: 'POST', headers, body });
  ledger.note(number, 1, status === 200 ? fates.acknowledged : fates.refused);
  return status;
}
