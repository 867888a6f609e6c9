import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, TLSSocket } from 'node:tls';
import type { Dice } from './dice.ts';
import { completeRequests, readAnswers } from './framing.ts';
import { judge } from './judge.ts';
import { makeRequest } from './mutate.ts';
import type { Request } from './seeds.ts';

/** What is sent on one connection, and how. Plain data: it can be printed, and sent again. */
export type Http1Case = {
  readonly transport: 'plain' | 'tls';
  readonly requests: number;
  /** Written one after another; a character is a byte. */
  readonly pieces: readonly string[];
  readonly pauseMs: number;
  /** What the sender does last. */
  readonly ending: 'wait' | 'half-close' | 'cut' | 'cut unread';
  /** So many more connections begin the same, and are cut. */
  readonly crowd: number;
  /** What is answered, if it is known. */
  readonly statuses?: readonly number[];
};

export type Target = { readonly plain: string; readonly tls: string };

/** What came of a case. */
export type Outcome = {
  readonly statuses: readonly number[];
  /** What a 503 said. */
  readonly busy?: string;
  /** It was closed by the server, and a request that was sent has no answer. */
  readonly wasClosed: boolean;
  readonly problem: string | undefined;
};

/** A request that is complete is answered, or its connection closed, within this. */
export const answerMsMax = 25_000;

const endings = ['half-close', 'cut', 'cut unread'] as const;

export function makeHttp1(seeds: readonly Request[], dice: Dice): Http1Case {
  const requests = dice.oneIn(4) ? dice.integer(2, 8) : 1;
  const made = Array.from({ length: requests }, (_, index) =>
    makeRequest(seeds, dice, index === requests - 1),
  );
  const whole = Buffer.concat(made.map(({ bytes }) => bytes)).toString('latin1');
  const ending = dice.oneIn(4) ? dice.pick(endings) : 'wait';
  const isCut = ending.startsWith('cut');
  const sent = isCut && dice.oneIn(2) ? whole.slice(0, dice.integer(0, whole.length)) : whole;
  const statuses = made.flatMap(({ status }) => status ?? []);
  const isKnown = ending === 'wait' && statuses.length === requests;
  return {
    transport: dice.oneIn(10) ? 'tls' : 'plain',
    requests,
    pieces: split(sent, dice),
    pauseMs: dice.oneIn(20) ? dice.integer(1, 20) : 0,
    ending,
    crowd: dice.oneIn(200) ? 30 : 0,
    ...(isKnown ? { statuses } : {}),
  };
}

function split(sent: string, dice: Dice): readonly string[] {
  if (dice.oneIn(2)) return [sent];
  if (sent.length < 400 && dice.oneIn(10)) return sent.split('');
  const cuts = [0, ...dice.cuts(sent.length, dice.integer(1, 6)), sent.length];
  return cuts.map((from, index) => sent.slice(from, cuts[index + 1] ?? from));
}

/** Sends a case, and judges what comes back. */
export async function playHttp1(target: Target, one: Http1Case): Promise<Outcome> {
  const crowd = Array.from({ length: one.crowd }, () => Conversation.open(target, one.transport));
  for (const connection of await Promise.all(crowd)) {
    connection.socket.write(Buffer.from(one.pieces[0] ?? '', 'latin1'));
    setTimeout(() => connection.cut(), 20);
  }
  const connection = await Conversation.open(target, one.transport);
  try {
    return await converse(connection, one);
  } finally {
    connection.cut();
  }
}

async function converse(connection: Conversation, one: Http1Case): Promise<Outcome> {
  for (const piece of one.pieces) {
    connection.socket.write(Buffer.from(piece, 'latin1'));
    if (one.pauseMs > 0 && one.pieces.length < 20) await sleep(one.pauseMs);
    else await setImmediate();
  }
  const sent = one.pieces.join('');
  const mayBeHead = sent.includes('HEAD');
  if (one.ending.startsWith('cut')) {
    if (one.ending === 'cut') await connection.more(1);
    return { statuses: [], wasClosed: false, problem: undefined };
  }
  const complete = one.ending === 'wait' ? completeRequests(sent) : 0;
  const answers = () => readAnswers(connection.received, mayBeHead).answers;
  const statuses = () => answers().map(({ status }) => status);
  const isAnswered = await connection.until(() => answers().length >= complete);
  const told = (problem: string | undefined): Outcome => {
    const busy = answers().find(({ status }) => status === 503)?.body;
    const wasClosed = statuses().length < one.requests;
    return { statuses: statuses(), wasClosed, problem, ...(busy ? { busy } : {}) };
  };
  if (!isAnswered) return told(`a hang: ${statuses().length} answers to ${complete} requests`);
  const early = statuses();
  connection.socket.end();
  if (!(await connection.until(() => false))) return told('a hang: not closed after our end');
  return told(problemOf(connection, one, mayBeHead, early));
}

function problemOf(
  connection: Conversation,
  { statuses, transport }: Http1Case,
  mayBeHead: boolean,
  early: readonly number[],
): string | undefined {
  const { answers, problem, isCut } = readAnswers(connection.received, mayBeHead);
  if (problem !== undefined) return `malformed: ${problem}`;
  if (isCut && !connection.wasReset && transport === 'plain') return 'malformed: it breaks off';
  for (const answer of answers) {
    const wrong = judge(answer);
    if (wrong !== undefined) return wrong;
  }
  const isRight = statuses?.every((status, index) => early[index] === status) ?? true;
  return isRight ? undefined : `expected ${statuses?.join()}, answered ${early.join()}`;
}

/** A connection, and all that was received on it. */
class Conversation {
  readonly socket: Socket;
  wasReset = false;
  #isClosed = false;
  #changed = Promise.withResolvers<void>();
  readonly #chunks: Buffer[] = [];
  #text = '';

  private constructor(socket: Socket) {
    this.socket = socket;
    const changed = () => {
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    };
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      changed();
    });
    // What is cut off is an outcome, not a failure of ours.
    socket.on('error', () => {
      this.wasReset = true;
    });
    socket.once('close', () => {
      this.#isClosed = true;
      changed();
    });
  }

  static async open(target: Target, transport: 'plain' | 'tls'): Promise<Conversation> {
    const { hostname: host, port } = new URL(target[transport]);
    const where = { host, port: Number(port) };
    const socket =
      transport === 'plain'
        ? connect({ ...where, noDelay: true })
        : connectTls({ ...where, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
    await once(socket, transport === 'plain' ? 'connect' : 'secureConnect');
    return new Conversation(socket);
  }

  get received(): string {
    for (const chunk of this.#chunks.splice(0)) this.#text += chunk.toString('latin1');
    return this.#text;
  }

  /** Waits for this, or for the server to close; false when neither comes in time. */
  async until(isThere: () => boolean): Promise<boolean> {
    const late = new AbortController();
    const timeout = sleep(answerMsMax, 'late', { signal: late.signal }).catch(() => 'late');
    try {
      while (!isThere() && !this.#isClosed) {
        const changed = this.#changed.promise.then(() => 'changed');
        if ((await Promise.race([changed, timeout])) === 'late') return false;
      }
      return true;
    } finally {
      late.abort();
    }
  }

  /** Waits a little for something to come. */
  async more(ms: number): Promise<void> {
    await Promise.race([this.#changed.promise, sleep(ms)]);
  }

  cut(): void {
    // Only TCP by itself knows how to reset.
    if (this.socket instanceof TLSSocket) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }
}
