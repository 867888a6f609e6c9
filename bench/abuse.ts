import { connect, type Socket } from 'node:net';
import { setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/*
 * Senders that ask for too much, in a process of their own: raw sockets, one kind at a time. Each
 * event has an id of its own, so that what was acknowledged can be looked for.
 */

export type Kind = 'idle' | 'slow' | 'large' | 'pipelining' | 'flood';

export type Order =
  | { readonly do: 'begin'; readonly kind: Kind; readonly connections: number }
  | { readonly do: 'end' }
  | { readonly do: 'tell' };

export type AbuseTarget = { readonly host: string; readonly port: number; readonly key: string };

/** What became of the requests of one time: how many had each status; those that had none. */
export type Ended = {
  readonly statuses: Readonly<Record<string, number>>;
  readonly unanswered: number;
  /** Connections that the server closed. */
  readonly closed: number;
};

/** What became of each id, from 0. */
export const outcome = { unanswered: 0, acknowledged: 1, refused: 2 } as const;

const openAtOnce = 200;
const dripEveryMs = 500;
const reopenMs = 1_000;
/** Until the first that are slow are cut off, and begin again. */
const slowWarmUpMs = 12_000;
const largeBodyBytes = 1_000_000;
const pipelined = 500;
const lastAnswersMs = 30_000;

const outcomes: number[] = [];
let statuses: Record<string, number> = {};
let closed = 0;
let isOver = false;
let all: Sender[] = [];

/** One connection. What is cut is opened again. */
class Sender {
  readonly #target: AbuseTarget;
  readonly #open: (sender: Sender) => void;
  readonly #answered: (sender: Sender) => void;
  socket: Socket;
  /** Ids without an answer, in their order. */
  #waiting: number[] = [];
  #rest = '';

  constructor(
    target: AbuseTarget,
    open: (sender: Sender) => void,
    answered: (sender: Sender) => void,
  ) {
    this.#target = target;
    this.#open = open;
    this.#answered = answered;
    this.socket = this.#connect();
  }

  get unanswered(): number {
    return this.#waiting.length;
  }

  /** One event; `rest` is its end. */
  post(rest: Buffer): void {
    const id = outcomes.push(outcome.unanswered) - 1;
    this.#waiting.push(id);
    const event = `{"id":${id},"pad":"`;
    this.socket.write(`${headOf(this.#target, event.length + rest.length)}${event}`, 'latin1');
    this.socket.write(rest);
  }

  #connect(): Socket {
    const { host, port } = this.#target;
    const socket = connect({ host, port, noDelay: true });
    this.#waiting = [];
    this.#rest = '';
    socket.once('connect', () => this.#open(this));
    socket.setEncoding('latin1').on('data', (text: string) => this.#read(text));
    socket.on('error', () => undefined);
    socket.once('close', () => {
      if (isOver) return;
      closed += 1;
      setTimeout(() => {
        if (!isOver) this.socket = this.#connect();
      }, reopenMs);
    });
    return socket;
  }

  #read(text: string): void {
    const answers = /HTTP\/1\.1 (\d{3})/g;
    this.#rest += text;
    let end = 0;
    for (let found = answers.exec(this.#rest); found; found = answers.exec(this.#rest)) {
      end = answers.lastIndex;
      const status = found[1] ?? '';
      statuses[status] = (statuses[status] ?? 0) + 1;
      const id = this.#waiting.shift();
      if (id !== undefined) {
        outcomes[id] = status === '200' ? outcome.acknowledged : outcome.refused;
      }
      this.#answered(this);
    }
    // The beginning of the next one may be here.
    this.#rest = this.#rest.slice(Math.max(end, this.#rest.length - 12));
  }
}

function headOf({ host, port, key }: AbuseTarget, bodyBytes: number): string {
  return (
    `POST /postback/v3/event/bench/abuse HTTP/1.1\r\nHost: ${host}:${port}\r\n` +
    `Content-Type: application/json\r\nX-TD-Write-Key: ${key}\r\n` +
    `Content-Length: ${bodyBytes}\r\n\r\n`
  );
}

const small = Buffer.from(`${'#'.repeat(280)}"}`);
const large = Buffer.from(`${'#'.repeat(largeBodyBytes)}"}`);
const ignore = () => undefined;

/** What each kind does when it is connected, and at each answer. */
const ways: Record<Kind, readonly [(sender: Sender) => void, (sender: Sender) => void]> = {
  idle: [(sender) => sender.post(small), ignore],
  slow: [ignore, ignore],
  large: [again(large), again(large)],
  flood: [again(small), again(small)],
  pipelining: [fill, fill],
};

function again(rest: Buffer) {
  return (sender: Sender) => {
    if (!isOver) sender.post(rest);
  };
}

function fill(sender: Sender): void {
  if (isOver || sender.unanswered > pipelined / 2) return;
  sender.socket.cork();
  while (sender.unanswered < pipelined) sender.post(small);
  sender.socket.uncork();
}

async function begin(target: AbuseTarget, kind: Kind, connections: number): Promise<void> {
  [statuses, closed, isOver, all] = [{}, 0, false, []];
  const opened = new Set<Sender>();
  const [open, answered] = ways[kind];
  const onOpen = (sender: Sender) => {
    opened.add(sender);
    open(sender);
  };
  while (all.length < connections) {
    all.push(new Sender(target, onOpen, answered));
    while (all.length - opened.size >= openAtOnce) await sleep(1);
  }
  while (opened.size < connections) await sleep(1);
  if (kind !== 'slow') return;
  drip(target);
  await sleep(slowWarmUpMs);
}

/** Half of them never end their head, the others their body. */
function drip(target: AbuseTarget): void {
  const head = headOf(target, 10_000);
  const amid = new WeakSet<Socket>();
  const timer = setInterval(() => {
    if (isOver) return clearInterval(timer);
    for (const [index, { socket }] of all.entries()) {
      if (!socket.writable || socket.connecting) continue;
      const isHead = index % 2 === 0;
      if (amid.has(socket)) socket.write(isHead ? 'x' : ' ');
      else socket.write(isHead ? 'POST /postback/v3/event/bench/abuse HTTP/1.1\r\nX-Slow: ' : head);
      amid.add(socket);
    }
  }, dripEveryMs);
}

async function stop(): Promise<Ended> {
  isOver = true;
  const count = () => all.reduce((sum, { unanswered }) => sum + unanswered, 0);
  const isOpen = () => all.some(({ socket, unanswered }) => unanswered > 0 && !socket.destroyed);
  for (const atMs = Date.now(); isOpen() && Date.now() - atMs < lastAnswersMs; ) await sleep(10);
  const unanswered = count();
  for (const { socket } of all) socket.destroy();
  all = [];
  return { statuses, unanswered, closed };
}

if (process.send) {
  // They stand for other machines: what they cost here must not be the server's loss.
  setPriority(10);
  const target = JSON.parse(process.argv[2] ?? '') as AbuseTarget;
  const answer = (message: object | string) => void process.send?.(message);
  process.on('message', (order: Order) => {
    if (order.do === 'tell') answer(Uint8Array.from(outcomes));
    else if (order.do === 'end') void stop().then(answer);
    else void begin(target, order.kind, order.connections).then(() => answer('begun'));
  });
}
