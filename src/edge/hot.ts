import type { Duplex } from 'node:stream';
import { fault, limits, type MillraceError } from '../base/index.ts';
import { type Found, type Headers, refusal } from '../wire/index.ts';
import { answerText, bareText } from './answer.ts';
import type { BodyBudget } from './body.ts';
import { closeSoon, type Connections } from './connections.ts';
import type { EdgeMetrics } from './metrics.ts';
import type { PlainHead } from './plain.ts';
import { offerReads } from './reads.ts';
import type { Received, Receiver } from './receive.ts';
import { KnownHead, pathHashAt, readStrict } from './strict.ts';

/** An answer in its turn. */
type Owed = {
  readonly startedAt: number;
  received: Received | undefined;
  /** It stands behind something that is no request. */
  readonly isBare: boolean;
};

/** A head that was read, and what it means. */
type Head = {
  /** To know it again; undefined if it is not worth to be kept. */
  readonly known: KnownHead | undefined;
  readonly form: Found;
  readonly headers: Headers;
  /** Learnt when it is seen again. */
  plain: PlainHead | 'none' | undefined;
};

/** A head, and where the body behind it stands. */
type Seen = { readonly head: Head; readonly bodyAt: number; readonly end: number };

/** A connection that is read here. */
type Hot = {
  readonly socket: Duplex;
  /** Its sender, if no proxy says otherwise. */
  readonly peer: string;
  /** The beginning of a request that is yet to come whole. */
  partial: Buffer | undefined;
  /** The head of the latest request. */
  head: Head | undefined;
  pieces: number;
  /** Bytes that `partial` must have before it is worth another look. */
  neededBytes: number;
  /** Answers in the order of their requests. */
  readonly owed: Owed[];
  /** What becomes of it when all is answered. */
  next: 'read' | 'leave' | 'end';
  /** Whether its answers are about to be written. */
  isDue: boolean;
  /** The sweep after which nothing has come or gone. */
  quietSince: number;
  isFresh: boolean;
  /** What it listens to here. */
  readonly listeners: readonly (readonly [string, (chunk: Buffer) => void])[];
};

type HotParts = {
  readonly connections: Connections;
  readonly receiver: Receiver;
  readonly budget: BodyBudget;
  readonly metrics: EdgeMetrics;
  /** Reads a connection by Node's own parser from now on. */
  readonly leave: (socket: Duplex) => void;
};

const sweepEveryMs = 1_000;
const [headSweeps, idleSweeps, stillSweeps] = [
  limits.headersTimeoutMs / sweepEveryMs,
  limits.keepAliveTimeoutMs / sweepEveryMs,
  limits.stillTimeoutMs / sweepEveryMs,
];

/**
 * Reads connections itself for as long as what comes is of the strict grammar. The first request
 * that is not, or takes its time to come, goes to Node's own server with all that follows it.
 */
export class HotLane {
  readonly #parts: HotParts;
  readonly #all = new Set<Hot>();
  /** The latest heads, by a hash of their path. */
  readonly #heads = new Map<number, Head>();
  /** Connections with answers that are about to be written. */
  #due: Hot[] = [];
  #sweeps = 0;
  readonly #timer = setInterval(() => this.#sweep(), sweepEveryMs);
  #isDraining = false;

  constructor(parts: HotParts) {
    this.#parts = parts;
  }

  /** Takes a connection on which nothing was read yet. */
  take(socket: Duplex): void {
    const listeners = [
      ['data', (chunk: Buffer) => this.#read(hot, chunk)],
      ['end', () => this.#ended(hot)],
      ['drain', () => this.#drained(hot)],
      ['error', () => this.#parts.metrics.count('malformed', 499)],
      ['close', () => this.#forget(hot)],
    ] as const;
    const hot: Hot = {
      socket,
      peer: this.#parts.receiver.addressOf(socket),
      partial: undefined,
      head: undefined,
      pieces: 0,
      neededBytes: 0,
      owed: [],
      next: 'read',
      isDue: false,
      quietSince: this.#sweeps,
      isFresh: true,
      listeners,
    };
    this.#all.add(hot);
    for (const [name, listener] of listeners) socket.on(name, listener);
    offerReads(socket, (bytes) => {
      // What is paused, or has bytes from before, waits its turn.
      const isInTurn = socket.readableFlowing === true && socket.readableLength === 0;
      if (hot.next !== 'read' || !isInTurn) return false;
      this.#read(hot, bytes);
      return true;
    });
  }

  /** Answers what was read; what is idle ends now, what is amid a request goes to Node. */
  drain(): void {
    this.#isDraining = true;
    clearInterval(this.#timer);
    for (const hot of this.#all) {
      if (hot.next !== 'read') continue;
      // Nothing more is read: who always sends one more would never be answered for the last time.
      if (hot.owed.length > 0) hot.next = 'end';
      else if (hot.partial) this.#leaveFrom(hot, hot.partial, 0);
      else this.#close(hot);
    }
  }

  /** Cuts what is left. */
  cut(): void {
    for (const { socket } of this.#all) socket.destroy();
  }

  /** @param chunk the next read overwrites it: what stays is copied. */
  #read(hot: Hot, chunk: Buffer): void {
    if (hot.next !== 'read') return;
    hot.quietSince = this.#sweeps;
    const bytes = this.#joined(hot, chunk);
    if (bytes === undefined) return;
    let at = 0;
    while (at < bytes.length) {
      const found = this.#readHead(hot, bytes, at);
      if (found === 'other') return this.#leaveFrom(hot, bytes, at);
      if (found === 'more') return this.#keep(hot, bytes, at, 0);
      const { head, bodyAt, end } = found;
      if (end - bodyAt > limits.smallBodyBytesMax) return this.#leaveFrom(hot, bytes, at);
      if (end > bytes.length) return this.#keep(hot, bytes, at, end - at);
      this.#begin(hot, head, bytes.subarray(bodyAt, end));
      at = end;
    }
  }

  /** Reads a head; one like the last of its connection, or of its path, in passing. */
  #readHead(hot: Hot, bytes: Buffer, at: number): 'more' | 'other' | Seen {
    const last = this.#seenBefore(hot.head, hot, bytes, at);
    if (last) return last;
    const hash = pathHashAt(bytes, at);
    const seen = this.#seenBefore(this.#heads.get(hash), hot, bytes, at);
    if (seen) return seen;
    const read = readStrict(bytes, at);
    if (typeof read === 'string') return read;
    const { path, headers, bodyAt, end } = read;
    const form = this.#parts.receiver.formAt(path);
    if (!form) return 'other';
    const known = KnownHead.isWorthy(at, read) ? new KnownHead(bytes, at, read) : undefined;
    const head: Head = { known, form, headers, plain: undefined };
    hot.head = head;
    if (known) this.#remember(hash, head);
    return { head, bodyAt, end };
  }

  #seenBefore(head: Head | undefined, hot: Hot, bytes: Buffer, at: number): Seen | undefined {
    const length = head?.known?.bodyLengthAt(bytes, at);
    if (!head?.known || length === undefined) return undefined;
    head.plain ??= this.#parts.receiver.plainHead(head.form, head.headers, hot.peer) ?? 'none';
    hot.head = head;
    const bodyAt = at + head.known.length;
    return { head, bodyAt, end: bodyAt + length };
  }

  #remember(hash: number, head: Head): void {
    if (this.#heads.size >= limits.pathsKnownMax) this.#heads.clear();
    this.#heads.set(hash, head);
  }

  /** What came with what came before; undefined if it is too little to be looked at. */
  #joined(hot: Hot, chunk: Buffer): Buffer | undefined {
    const { partial } = hot;
    if (partial === undefined) return chunk;
    this.#parts.budget.give(partial.length);
    hot.partial = undefined;
    const bytes = Buffer.concat([partial, chunk]);
    if (bytes.length >= hot.neededBytes) return bytes;
    this.#keep(hot, bytes, 0, hot.neededBytes);
    return undefined;
  }

  /** Waits for the rest of a request, which began at a place. */
  #keep(hot: Hot, bytes: Buffer, at: number, neededBytes: number): void {
    const partial = Buffer.from(bytes.subarray(at));
    hot.pieces += 1;
    const isTaken =
      hot.pieces <= limits.smallBodyPiecesMax &&
      this.#parts.budget.take(partial.length, partial.length);
    if (!isTaken) return this.#leaveFrom(hot, bytes, at);
    hot.partial = partial;
    hot.neededBytes = neededBytes;
  }

  #begin(hot: Hot, { form, headers, plain }: Head, body: Buffer): void {
    hot.pieces = 0;
    hot.isFresh = false;
    const owed: Owed = { startedAt: performance.now(), received: undefined, isBare: false };
    hot.owed.push(owed);
    const { connections, receiver } = this.#parts;
    const done = (received: Received) => this.#answer(hot, owed, received);
    let [bytes, isBegun] = [body, false];
    const work = () => {
      isBegun = true;
      if (typeof plain === 'object' && receiver.receivePlain(plain, bytes, done)) return;
      receiver.receiveWhole(form, headers, Buffer.from(bytes), hot.peer, done);
    };
    connections.begin(hot.socket, work, whole);
    // It waits for its turn, and the next read overwrites it.
    if (!isBegun) bytes = Buffer.from(body);
  }

  #answer(hot: Hot, owed: Owed, received: Received): void {
    owed.received = received;
    if (hot.isDue) return;
    hot.isDue = true;
    // All answers that one write to the log brings to a connection go out together.
    if (this.#due.push(hot) === 1) process.nextTick(() => this.#writeAll());
  }

  #writeAll(): void {
    const due = this.#due;
    this.#due = [];
    const now = performance.now();
    for (const hot of due) {
      hot.isDue = false;
      this.#write(hot, now);
    }
  }

  /** Writes the answers whose turn it is. */
  #write(hot: Hot, now: number): void {
    const { connections, metrics } = this.#parts;
    const { socket, owed } = hot;
    if (socket.destroyed) return;
    let text = '';
    let count = 0;
    for (const { received, isBare, startedAt } of owed) {
      if (received?.answer === undefined) break;
      count += 1;
      const isLast = count === owed.length && this.#isDraining && hot.next !== 'leave';
      text += isBare ? bareText(received.answer) : answerText(received.answer, !isLast);
      metrics.count(received.label, received.answer.status);
      if (isBare) continue;
      metrics.duration.observe((now - startedAt) / 1000);
      connections.end(socket);
    }
    if (count === 0) return;
    owed.splice(0, count);
    hot.quietSince = this.#sweeps;
    // A client that does not read what it asked for is not read either.
    if (!socket.write(text, 'latin1')) socket.pause();
    if (owed.length > 0) return;
    if (hot.next === 'leave') this.#leave(hot);
    else if (this.#isDraining) this.#close(hot);
    else if (hot.next === 'end') socket.end();
  }

  /** What begins at a place is Node's, and all that follows it; once all before it is answered. */
  #leaveFrom(hot: Hot, bytes: Buffer, at: number): void {
    const { socket } = hot;
    this.#giveBack(hot);
    this.#parts.connections.hold(socket);
    // At once: it must stand before what else is read of the connection, and before its end.
    socket.unshift(Buffer.from(bytes.subarray(at)));
    hot.next = 'leave';
    if (hot.owed.length === 0) this.#leave(hot);
  }

  #leave(hot: Hot): void {
    const { socket, listeners, partial } = hot;
    // Node would not read it on by itself once its answers are read; see `#drained`.
    if (socket.writableNeedDrain) return;
    this.#forget(hot);
    for (const [name, listener] of listeners) socket.off(name, listener);
    const others = socket.listenerCount('end');
    this.#parts.leave(socket);
    this.#parts.connections.release(socket);
    if (partial === undefined) return;
    // It came to its end before, so nothing can be put back: Node hears of both anew.
    socket.emit('data', partial);
    for (const listener of socket.listeners('end').slice(others)) listener.call(socket);
  }

  /** Closes it when its last answer is written, and reads no more. */
  #close(hot: Hot): void {
    hot.next = 'end';
    closeSoon(hot.socket);
  }

  /** The sender reads its answers. */
  #drained(hot: Hot): void {
    if (hot.next === 'leave' && hot.owed.length === 0) this.#leave(hot);
  }

  /** The sender has said all. */
  #ended(hot: Hot): void {
    if (hot.next !== 'read') return;
    hot.next = hot.partial ? 'leave' : 'end';
    if (hot.owed.length > 0) return;
    if (hot.next === 'leave') this.#leave(hot);
    else hot.socket.end();
  }

  /** Answers what is no request, and reads no more. */
  #refuse(hot: Hot, error: MillraceError): void {
    hot.next = 'end';
    const owed: Owed = { startedAt: 0, received: undefined, isBare: true };
    hot.owed.push(owed);
    this.#answer(hot, owed, { label: 'malformed', answer: refusal(error) });
  }

  #forget(hot: Hot): void {
    this.#all.delete(hot);
    this.#giveBack(hot);
  }

  #giveBack(hot: Hot): void {
    if (hot.partial) this.#parts.budget.give(hot.partial.length);
    hot.partial = undefined;
  }

  /** Looks at connections on which nothing came or went. */
  #sweep(): void {
    this.#sweeps += 1;
    for (const hot of this.#all) {
      const { socket, partial, next, owed, isFresh } = hot;
      const sweeps = this.#sweeps - hot.quietSince;
      const isRead = next === 'read' && owed.length === 0;
      // How long it may take to come is measured there.
      if (isRead && partial) this.#leaveFrom(hot, partial, 0);
      else if (isRead && isFresh && sweeps > headSweeps)
        this.#refuse(hot, fault('REQUEST_TIMEOUT'));
      else if (sweeps > (isRead ? idleSweeps : stillSweeps)) socket.destroy();
    }
  }
}

/** What is read here is whole when it begins. */
const whole = { complete: true };
