import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import type { OutgoingHttpHeaders } from 'node:http2';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Dice } from './dice.ts';
import { answerMsMax, type Outcome, type Target } from './http1.ts';
import { judge } from './judge.ts';
import { bent } from './mutate.ts';
import { marker, type Request } from './seeds.ts';

type Stream = {
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** A character is a byte. */
  readonly body: string;
  readonly ending: 'end' | 'reset' | 'reset at once';
};

/** Streams of one session, all at once. */
export type Http2Case = {
  readonly transport: 'h2';
  readonly requests: number;
  readonly streams: readonly Stream[];
  readonly isDestroyed: boolean;
};

/** Frames by hand, right and wrong. */
export type FramesCase = {
  readonly transport: 'frames';
  readonly requests: number;
  readonly pieces: readonly string[];
};

export function makeHttp2(seeds: readonly Request[], dice: Dice): Http2Case {
  const count = dice.oneIn(20) ? dice.integer(50, 150) : dice.integer(1, 12);
  const streams = Array.from({ length: count }, () => streamOf(seeds, dice));
  return { transport: 'h2', requests: count, streams, isDestroyed: dice.oneIn(10) };
}

function streamOf(seeds: readonly Request[], dice: Dice): Stream {
  const seed = dice.pick(seeds);
  const { method, target, headers, body } = dice.oneIn(4) ? seed : bent(seed, dice);
  // A length that is wrong ends the whole session, a header of HTTP/1.1 the request in the client.
  const unfit = dice.oneIn(10)
    ? /^host$/i
    : /^(host|connection|upgrade|expect|transfer-encoding|content-length)$/i;
  const plain = headers.filter(([name]) => !unfit.test(name));
  return {
    headers: [[':method', method], [':path', target], ...plain],
    body: body.toString('latin1'),
    ending: dice.oneIn(6) ? dice.pick(['reset', 'reset at once']) : 'end',
  };
}

export async function playHttp2({ tls }: Target, one: Http2Case): Promise<Outcome> {
  const socket = await openTls(tls);
  const session = connect(tls, { createConnection: () => socket });
  const { localPort = 0 } = socket;
  const closed = new Promise<Played>((resolve) => socket.once('close', () => resolve({})));
  session.on('error', () => undefined);
  try {
    const played = one.streams.map((stream) => playStream(session, stream, closed));
    if (one.isDestroyed) setTimeout(() => session.destroy(), 3);
    const outcomes = await Promise.all(played);
    const statuses = outcomes.flatMap(({ status }) => status ?? []);
    const found = outcomes.find((outcome) => outcome.problem !== undefined)?.problem;
    // Node's client does not always see that its connection was reset; the system does.
    const isOurs = found === hang && !(await isOpen(localPort));
    const problem = isOurs ? undefined : found;
    return { statuses, wasClosed: statuses.length < one.requests, problem };
  } finally {
    session.destroy();
    socket.destroy();
  }
}

const hang = 'a hang of a stream';

/** Whether the system has a connection from this port of ours that no side has closed. */
async function isOpen(port: number): Promise<boolean> {
  const table = await readFile('/proc/net/tcp', 'utf8').catch(() => undefined);
  if (table === undefined) return true;
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = table.split('\n').map((line) => line.trim().split(/\s+/));
  return rows.some(([, from, , state]) => from?.endsWith(local) && state === established);
}

const established = '01';

async function openTls(url: string): Promise<TLSSocket> {
  const { hostname: host, port } = new URL(url);
  const options = { host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['h2'] };
  const socket = connectTls(options);
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  return socket;
}

type Played = { readonly status?: number; readonly problem?: string };

async function playStream(
  session: ClientHttp2Session,
  one: Stream,
  closed: Promise<Played>,
): Promise<Played> {
  const headers: OutgoingHttpHeaders = {};
  for (const [name, value] of one.headers) {
    const known = headers[name.toLowerCase()];
    headers[name.toLowerCase()] = known === undefined ? value : [known, value].flat().map(String);
  }
  let stream: ClientHttp2Stream;
  try {
    stream = session.request(headers, { endStream: false });
  } catch {
    // The client itself refuses to send it.
    return {};
  }
  const answer = answerOf(stream, () => session.destroyed || session.closed);
  stream.end(Buffer.from(one.body, 'latin1'));
  if (one.ending === 'reset at once') stream.close(8);
  if (one.ending === 'reset') setTimeout(() => stream.close(8), 2);
  const stop = new AbortController();
  const timeout = sleep(answerMsMax, undefined, { signal: stop.signal });
  const late = timeout.then((): Played => ({ problem: hang })).catch((): Played => ({}));
  const played = await Promise.race([answer, late, closed]);
  stop.abort();
  return one.ending === 'end' || played.problem !== undefined ? played : {};
}

/** @param isTorn whether the session ended, by us or by the server: a body may break off */
async function answerOf(stream: ClientHttp2Stream, isTorn: () => boolean): Promise<Played> {
  const chunks: Buffer[] = [];
  const headers = new Map<string, string>();
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('response', (got) => {
    for (const [name, value] of Object.entries(got)) headers.set(name, [value].flat().join('\n'));
  });
  stream.on('error', () => undefined);
  const isWhole = await new Promise<boolean>((resolve) => {
    stream.once('end', () => resolve(stream.rstCode === 0));
    stream.once('close', () => resolve(false));
  });
  const status = Number(headers.get(':status'));
  if (Number.isNaN(status)) return {};
  const body = isWhole && !isTorn() ? Buffer.concat(chunks).toString('latin1') : '';
  const problem = judge({ status, headers, body });
  return problem === undefined ? { status } : { status, problem };
}

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

/** A frame: its length, type, flags, stream and what is in it. */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream >>> 0, 5);
  return Buffer.concat([head, payload]);
}

/** Headers without compression, never indexed. */
function packed(headers: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value.slice(0, 126), 'latin1');
    return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  };
  const parts = headers.flatMap(([name, value]) => [Buffer.from([0x10]), text(name), text(value)]);
  return Buffer.concat(parts);
}

const oddHeaders: readonly (readonly [string, string])[] = [
  ['transfer-encoding', 'chunked'],
  ['connection', 'close'],
  ['content-length', '7'],
  ['content-length', '-1'],
  ['X-Upper', 'zq'],
  [':path', '/zq'],
  [':zq', 'zq'],
  ['a', 'b\r\nX-Zq: 1'],
  ['a\x00', marker],
  ['', 'zq'],
  ['cookie', '_td_global_id=zq'],
  ['host', 'zq'],
  ['te', 'gzip'],
  ['expect', '100-continue'],
  ['origin', `https://${marker}`],
  [':protocol', 'websocket'],
];

export function makeFrames(seeds: readonly Request[], dice: Dice): FramesCase {
  const settings = frame(4, 0, 0, Buffer.alloc(0));
  const frames = Array.from({ length: dice.integer(1, 20) }, () => oddFrame(seeds, dice));
  const whole = [Buffer.from(preface), settings, ...frames];
  if (dice.oneIn(3)) {
    const bytes = Buffer.concat(whole.slice(1));
    for (let count = dice.integer(1, 6); count > 0; count -= 1) {
      const at = dice.integer(0, bytes.length - 1);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.integer(0, 7));
    }
    return { transport: 'frames', requests: 1, pieces: [preface, bytes.toString('latin1')] };
  }
  return { transport: 'frames', requests: 1, pieces: whole.map((one) => one.toString('latin1')) };
}

function oddFrame(seeds: readonly Request[], dice: Dice): Buffer {
  const stream = dice.oneIn(8) ? dice.pick([0, 2, 4, 0x7fffffff]) : dice.integer(0, 9) * 2 + 1;
  const number = Buffer.alloc(4);
  number.writeUInt32BE(dice.pick([0, 1, 65_535, 0x7fffffff, 0x80000000, 0xffffffff]));
  switch (dice.integer(1, 12)) {
    case 1:
    case 2:
    case 3:
    case 4: {
      const { method, target, headers } = dice.pick(seeds);
      const pseudo = [
        [':method', method],
        [':scheme', 'https'],
        [':path', target],
      ] as const;
      const lowered = headers.map(([name, value]) => [name.toLowerCase(), value] as const);
      const odd = dice.oneIn(2) ? [dice.pick(oddHeaders)] : [];
      return frame(1, dice.pick([5, 4, 4, 1, 0]), stream, packed([...pseudo, ...lowered, ...odd]));
    }
    case 5:
      return frame(0, dice.pick([0, 1, 8]), stream, dice.pick(seeds).body);
    case 6:
      return frame(3, 0, stream, dice.oneIn(4) ? dice.bytes(3) : number);
    case 7: {
      const setting = Buffer.from([0, dice.integer(0, 9)]);
      return frame(4, dice.pick([0, 0, 1]), 0, Buffer.concat([setting, number]));
    }
    case 8:
      return frame(6, dice.pick([0, 1]), 0, dice.bytes(dice.pick([8, 8, 7])));
    case 9:
      return frame(8, 0, dice.pick([0, stream]), number);
    case 10:
      return frame(9, dice.pick([0, 4]), stream, dice.bytes(dice.integer(0, 30)));
    case 11:
      return frame(7, 0, 0, Buffer.concat([number, number]));
    default:
      return frame(dice.integer(0, 12), dice.integer(0, 255), stream, dice.bytes(10));
  }
}

/** Sends frames and goes away; what matters is that the server lives on. */
export async function playFrames({ tls }: Target, { pieces }: FramesCase): Promise<Outcome> {
  const socket = await openTls(tls);
  socket.on('data', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  for (const piece of pieces) socket.write(Buffer.from(piece, 'latin1'));
  await Promise.race([closed, sleep(15)]);
  socket.destroy();
  return { statuses: [], wasClosed: true, problem: undefined };
}
