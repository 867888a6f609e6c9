import { readFileSync, statSync } from 'node:fs';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { fault, limits, type Logger, messageOf, MillraceError } from '../base/index.ts';

export type TlsOptions = {
  readonly port: number;
  /** Paths of PEM files: the certificate with its chain, and its private key. */
  readonly certPath: string;
  readonly keyPath: string;
};

type DoorOptions = TlsOptions & {
  readonly host: string;
  readonly sharesPort: boolean;
  readonly logger: Logger;
  /** Takes over a connection after its handshake. */
  readonly accept: (socket: TLSSocket) => void;
};

/** A connection, the bytes that it had moved when it was last looked at, and for how long. */
type Connection = { readonly socket: TLSSocket; bytes: number; idleMs: number };

const everyMs = 1_000;

/** A port with TLS. A certificate that is replaced serves new connections from then on. */
export class TlsDoor {
  readonly #options: DoorOptions;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  /** Version of the files that were looked at last. */
  #seen: string;
  #timer: NodeJS.Timeout | undefined;

  private constructor(options: DoorOptions) {
    this.#options = options;
    this.#seen = versionOf(options);
    this.#server = createServer({
      ...contextOf(options),
      ALPNProtocols: ['h2', 'http/1.1'],
      handshakeTimeout: limits.headersTimeoutMs,
      noDelay: true,
    });
    // Those that are still in their handshake: the edge counts the others.
    this.#server.maxConnections = 2 * limits.connectionsMax;
    this.#server.on('secureConnection', (socket) => {
      const connection = { socket, bytes: 0, idleMs: 0 };
      this.#connections.add(connection);
      socket.once('close', () => this.#connections.delete(connection));
      options.accept(socket);
    });
    // A handshake that fails is the client's affair: a scanner, or one that trusts us not.
    this.#server.on('tlsClientError', (_, socket) => socket.destroy());
  }

  /** @throws BAD_SETTING when the files are no certificate and key; what the system says */
  static async open(options: DoorOptions): Promise<TlsDoor> {
    const door = readable(options.certPath, () => new TlsDoor(options));
    const { host, port, sharesPort } = options;
    await new Promise<void>((resolve, reject) => {
      door.#server.once('error', reject);
      door.#server.listen({ host, port, reusePort: sharesPort, backlog: 1024 }, resolve);
    });
    door.#timer = setInterval(() => {
      door.#reload();
      door.#sweep();
    }, everyMs);
    return door;
  }

  /** Stops accepting. Resolves when the last connection has ended; its protocol ends it. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** Cuts what is left. */
  cut(): void {
    for (const { socket } of this.#connections) socket.destroy();
  }

  /**
   * A connection of HTTP/2 that was cut in the middle can outlive its session without another
   * event: what moves no bytes for longer than any request may take is cut.
   */
  #sweep(): void {
    for (const connection of this.#connections) {
      const { socket, bytes } = connection;
      connection.bytes = socket.bytesRead + socket.bytesWritten;
      connection.idleMs = connection.bytes === bytes ? connection.idleMs + everyMs : 0;
      if (connection.idleMs > limits.stillTimeoutMs) socket.destroy();
    }
  }

  #reload(): void {
    try {
      const version = versionOf(this.#options);
      if (version === this.#seen) return;
      this.#seen = version;
      this.#server.setSecureContext(contextOf(this.#options));
      this.#options.logger.info('the TLS certificate was loaded anew');
    } catch (error) {
      // Maybe the other file is yet to come: the next change is looked at again. Until then the
      // old certificate is served.
      this.#options.logger.warn({ error: messageOf(error) }, 'the new TLS files cannot be used');
    }
  }
}

/** Changes with every replacement of a file; one that is not there has a version too. */
function versionOf({ certPath, keyPath }: TlsOptions): string {
  const versions = [certPath, keyPath].map((path) => {
    const found = statSync(path, { bigint: true, throwIfNoEntry: false });
    return found ? `${found.mtimeNs}-${found.ino}-${found.size}` : 'none';
  });
  return versions.join();
}

function contextOf({ certPath, keyPath }: TlsOptions): { cert: Buffer; key: Buffer } {
  return {
    cert: readable(certPath, () => readFileSync(certPath)),
    key: readable(keyPath, () => readFileSync(keyPath)),
  };
}

function readable<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof MillraceError) throw error;
    throw fault('BAD_SETTING', { seen: `TLS: ${path}: ${messageOf(error)}` }, error);
  }
}
