import { EventEmitter } from 'node:events';
import { chmod, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { fault, limits, messageOf } from '../base/index.ts';

const againEveryMs = 100;

/** Who can be told something: a process, or the other end of a line. */
export type Hearer = {
  readonly connected: boolean;
  send(message: object, sent: (error: Error | null) => void): boolean;
};

/** A line to another server's process: messages are lines of JSON on a socket. */
export class Line extends EventEmitter implements Hearer {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
    let begun: string[] = [];
    let length = 0;
    socket.setEncoding('utf8').on('data', (text: string) => {
      const [first = '', ...others] = text.split('\n');
      begun.push(first);
      length += first.length;
      for (const other of others) {
        this.#hear(begun.join(''));
        begun = [other];
        length = other.length;
      }
      if (length > limits.lineBytesMax) socket.destroy();
    });
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.emit('disconnect'));
  }

  get connected(): boolean {
    return this.#socket.writable;
  }

  send(message: object): boolean {
    // Whoever does not listen for so long is told all anew when it does.
    if (this.#socket.writableLength > limits.lineBytesMax) this.#socket.destroy();
    return this.connected && this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  end(): void {
    this.#socket.end();
  }

  #hear(text: string): void {
    try {
      this.emit('message', JSON.parse(text));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.#socket.destroy();
    }
  }
}

/** Takes lines at a path, for this user alone. @throws BAD_SETTING */
export async function listenForLines(path: string, taken: (line: Line) => void): Promise<Server> {
  // Nobody else listens there: the caller holds the lock. A killed server leaves it behind.
  await rm(path, { force: true });
  const server = createServer((socket) => taken(new Line(socket)));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(fault('BAD_SETTING', { seen: `cannot listen on ${path}: ${messageOf(error)}` }));
    });
    server.listen(path, resolve);
  });
  await chmod(path, 0o600);
  return server;
}

/** Has a line to a path, for as long as the process lives: when it is cut, it is made again. */
export function keepLine(path: string, made: (line: Line) => void): void {
  const socket = connect(path, () => made(new Line(socket)));
  socket.on('error', () => socket.destroy());
  socket.once('close', () => setTimeout(() => keepLine(path, made), againEveryMs));
}
