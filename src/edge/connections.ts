import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { limits } from '../base/index.ts';

/** What is known of a connection. */
type Connection = {
  /** Requests that have no whole answer yet. */
  unanswered: number;
  /** Those of them that are not begun, in their order. */
  readonly waiting: (() => void)[];
  /** The latest request of HTTP/1. */
  request: IncomingMessage | undefined;
  /** Reads on. */
  readonly resume: () => unknown;
};

/** The connections of an edge: how many there are, and what one may ask for at once. */
export class Connections {
  /** In the order in which they were answered last: the first has been idle for longest. */
  readonly #all = new Map<Duplex, Connection>();
  readonly #onCut: () => void;
  #waiting = 0;

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
    const connection: Connection = { unanswered: 0, waiting: [], request: undefined, resume };
    // Node reads on after each message, whoever paused it.
    socket.resume = () => {
      if (connection.waiting.length === 0) resume();
      return socket;
    };
    this.#all.set(socket, connection);
    socket.once('close', () => this.#forget(socket));
  }

  /**
   * Begins a request, now or when those before it are answered: meanwhile nothing more is read. A
   * connection beyond what an edge lets wait is cut.
   */
  begin(socket: Duplex, work: () => void, request?: IncomingMessage): void {
    const connection = this.#all.get(socket);
    if (!connection) return;
    connection.unanswered += 1;
    connection.request = request;
    if (connection.unanswered <= limits.requestsInWorkMax) return work();
    if (this.#waiting === limits.requestsWaitingMax) return this.#cut(socket);
    this.#waiting += 1;
    connection.waiting.push(work);
    socket.pause();
  }

  /** A request has its answer. */
  end(socket: Duplex): void {
    const connection = this.#all.get(socket);
    if (!connection) return;
    connection.unanswered -= 1;
    const next = connection.waiting.shift();
    if (next) {
      this.#waiting -= 1;
      if (connection.waiting.length === 0) connection.resume();
      next();
    } else if (connection.unanswered === 0) {
      connection.request = undefined;
      this.#all.delete(socket);
      this.#all.set(socket, connection);
    }
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
    this.#waiting -= this.#all.get(socket)?.waiting.length ?? 0;
    this.#all.delete(socket);
  }
}
