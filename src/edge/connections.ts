import type { Duplex } from 'node:stream';
import { limits } from '../base/index.ts';
import { Spread } from './spread.ts';

/** What is known of a connection. */
type Connection = {
  readonly socket: Duplex;
  /** Requests that have no whole answer yet. */
  unanswered: number;
  /** Those of them that are not begun, in their order. */
  readonly waiting: (() => void)[];
  /** Whether the first of these has its place in the line of the edge. */
  isInLine: boolean;
  /** Whether the rest of a body waits. */
  isResting: boolean;
  /** Whether nothing more is to be read until its reader says so. */
  isHeld: boolean;
  movedAtSecond: number;
  /** The latest request of HTTP/1. */
  request: Begun | undefined;
};

/** A request that was begun; `complete` once it was read to its end. */
type Begun = { readonly complete: boolean };

/** The connections of an edge: how many there are, and what one may ask for at once. */
export class Connections {
  /** In the order in which they were answered last: the first has been idle for longest. */
  readonly #all = new Map<Duplex, Connection>();
  readonly #onCut: () => void;
  #waiting = 0;
  readonly #line = new Spread(limits.pipelinedPerTurn);
  readonly #resting = new Spread(limits.largePiecesPerTurn);

  /** @param onCut is called for each that is cut to make room. */
  constructor(onCut: () => void) {
    this.#onCut = onCut;
  }

  get count(): number {
    return this.#all.size;
  }

  /** Takes one more. Where there is no room, the one that has been idle for longest is cut. */
  add(socket: Duplex): void {
    if (this.#all.size >= limits.connectionsMax && !this.#cutIdlest()) return this.#cut(socket);
    const resume = socket.resume.bind(socket);
    const connection: Connection = {
      socket,
      unanswered: 0,
      waiting: [],
      isInLine: false,
      isResting: false,
      isHeld: false,
      movedAtSecond: -1,
      request: undefined,
    };
    // Node reads on after each message, whoever paused it.
    socket.resume = () => {
      const { waiting, isResting, isHeld } = connection;
      if (waiting.length === 0 && !isResting && !isHeld && !socket.writableNeedDrain) resume();
      return socket;
    };
    // What that put off until answers are taken; who asked for it does not ask again.
    socket.on('drain', () => socket.resume());
    this.#all.set(socket, connection);
    socket.once('close', () => this.#forget(socket));
  }

  /**
   * Begins a request at once if it is the only one of its connection. Others take turns with those
   * of other connections; meanwhile nothing more is read. A connection beyond what an edge lets
   * wait is cut.
   */
  begin(socket: Duplex, work: () => void, request?: Begun): void {
    const connection = this.#all.get(socket);
    if (!connection) return;
    connection.unanswered += 1;
    connection.request = request;
    if (connection.unanswered === 1) return work();
    if (this.#waiting === limits.requestsWaitingMax) return this.#cut(socket);
    this.#waiting += 1;
    connection.waiting.push(work);
    // HTTP/2 has means of its own.
    if (request) socket.pause();
    this.#enqueue(connection);
  }

  /** A request has its answer. */
  end(socket: Duplex): void {
    const connection = this.#all.get(socket);
    if (!connection) return;
    connection.unanswered -= 1;
    this.#enqueue(connection);
    if (connection.unanswered > 0) return;
    connection.request = undefined;
    // Its place says since when it is idle, about: to move it each time would cost much.
    const second = Math.floor(performance.now() / 1_000);
    if (connection.movedAtSecond === second) return;
    connection.movedAtSecond = second;
    this.#all.delete(socket);
    this.#all.set(socket, connection);
  }

  /** Reads nothing more of a connection before others had their turn. */
  rest(socket: Duplex): void {
    const connection = this.#all.get(socket);
    if (!connection || connection.isResting) return;
    connection.isResting = true;
    socket.pause();
    this.#resting.add(() => {
      connection.isResting = false;
      socket.resume();
    });
  }

  /** Reads nothing more of a connection until it is released. */
  hold(socket: Duplex): void {
    const connection = this.#all.get(socket);
    if (connection) connection.isHeld = true;
    socket.pause();
  }

  release(socket: Duplex): void {
    const connection = this.#all.get(socket);
    if (connection) connection.isHeld = false;
    socket.resume();
  }

  #enqueue(connection: Connection): void {
    const inWork = connection.unanswered - connection.waiting.length;
    if (connection.isInLine || inWork >= limits.requestsInWorkMax) return;
    if (connection.waiting.length === 0) return;
    connection.isInLine = true;
    this.#line.add(() => this.#beginNext(connection));
  }

  #beginNext(connection: Connection): void {
    connection.isInLine = false;
    const work = connection.waiting.shift();
    // Its connection was closed.
    if (!work) return;
    this.#waiting -= 1;
    this.#enqueue(connection);
    if (connection.request) connection.socket.resume();
    work();
  }

  /** Whether there was one that is owed no answer: idle, or amid a request. */
  #cutIdlest(): boolean {
    for (const [socket, { unanswered, request }] of this.#all) {
      if (unanswered > 0 && request?.complete !== false) continue;
      this.#cut(socket);
      return true;
    }
    return false;
  }

  #cut(socket: Duplex): void {
    this.#onCut();
    this.#forget(socket);
    socket.destroy();
  }

  #forget(socket: Duplex): void {
    const connection = this.#all.get(socket);
    if (!connection) return;
    this.#all.delete(socket);
    this.#waiting -= connection.waiting.length;
    connection.waiting.length = 0;
  }
}

/** They are to close already; to say it again would add a listener each time. */
const closing = new WeakSet<Duplex>();

/** Closes a connection when its last answer is written. */
export function closeSoon(socket: Duplex & { destroySoon?: () => void }): void {
  if (closing.has(socket)) return;
  closing.add(socket);
  if (socket.destroySoon) socket.destroySoon();
  else socket.end();
}
