import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export type RawResponse = {
  /** Status line and headers, as they came. */
  readonly head: string;
  readonly status: number;
  readonly body: string;
};

/** HTTP/1.1 by hand: what is sent and what comes back, byte for byte. */
export class RawConnection implements Disposable {
  readonly #socket: Socket;
  readonly #closed: Promise<unknown>;
  #received = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#closed = new Promise((resolve) => socket.once('close', resolve));
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.#received += text;
    });
    // A cut connection is an answer too: `response` tells.
    socket.on('error', () => undefined);
  }

  static async open(url: string): Promise<RawConnection> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    await once(socket, 'connect');
    return new RawConnection(socket);
  }

  send(bytes: string | Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** Sends the last bytes and closes this side. */
  finish(bytes: Uint8Array): void {
    this.#socket.end(bytes);
  }

  /** The next response; undefined when the connection was closed instead. */
  async response(hasBody = true): Promise<RawResponse | undefined> {
    for (;;) {
      const headEnd = this.#received.indexOf('\r\n\r\n');
      const head = this.#received.slice(0, headEnd);
      const length = hasBody ? Number(/^Content-Length: (\d+)$/im.exec(head)?.[1] ?? 0) : 0;
      const end = headEnd + 4 + length;
      if (headEnd !== -1 && this.#received.length >= end) {
        const body = this.#received.slice(headEnd + 4, end);
        this.#received = this.#received.slice(end);
        return { head, status: Number(head.split(' ')[1]), body };
      }
      if (this.#socket.closed) return undefined;
      await Promise.race([once(this.#socket, 'data'), this.#closed]);
    }
  }

  /** Resolves when the other side has closed. */
  async closed(): Promise<void> {
    await this.#closed;
  }

  /** Goes away without a word. */
  cut(): void {
    this.#socket.resetAndDestroy();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
