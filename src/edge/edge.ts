import { createServer, STATUS_CODES } from 'node:http';
import type { Server } from 'node:http';
import { createServer as createHttp2Server, type Http2Server, type Http2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { type Disk, fault, limits, MillraceError, type Metrics } from '../base/index.ts';
import { refusal, type WireSettings } from '../wire/index.ts';
import { httpDate, send, sendHttp2 } from './answer.ts';
import { BodyBudget, type Incoming } from './body.ts';
import { TrustedProxies } from './client.ts';
import { type EdgeMetrics, edgeMetrics } from './metrics.ts';
import { KeyPolicy } from './policy.ts';
import { type Received, Receiver, type ReceiverParts } from './receive.ts';
import { TlsDoor, type TlsOptions } from './tls.ts';

export type EdgeOptions = Omit<ReceiverParts, 'policy' | 'proxies' | 'settings'> & {
  readonly disk: Disk;
  readonly dataDirectory: string;
  readonly host: string;
  /** Undefined: there is no door, nor one with TLS; connections come by `connect`. */
  readonly port: number | undefined;
  /** The door with TLS, beside the plain one. */
  readonly tls: TlsOptions | undefined;
  /** How many edges share the ports. */
  readonly edges: number;
  /** Whether a wrong key is refused at once. */
  readonly strict: boolean;
  /** Addresses and networks whose X-Forwarded-For is believed. */
  readonly trustedProxies: readonly string[];
  readonly settings: WireSettings;
  readonly metrics: Metrics;
};

const sweepEveryMs = 50;

/** The collector: HTTP/1.1, and HTTP/2 over TLS, over one shard of the log. */
export class Edge {
  readonly #http1: Server;
  readonly #http2: Http2Server;
  readonly #http2Sessions = new Set<Http2Session>();
  readonly #receiver: Receiver;
  readonly #metrics: EdgeMetrics;
  readonly #policy: KeyPolicy;
  #tls: TlsDoor | undefined;
  #isDraining = false;

  private constructor(options: EdgeOptions, policy: KeyPolicy) {
    const proxies = new TrustedProxies(options.trustedProxies);
    const budget = new BodyBudget();
    this.#metrics = edgeMetrics(options.metrics, () => budget.used);
    this.#receiver = new Receiver({ ...options, policy, proxies }, budget, this.#metrics);
    this.#policy = policy;
    this.#http1 = this.#openHttp1();
    this.#http2 = this.#openHttp2();
  }

  /** Listens, if it has a port. @throws what the system says, such as EADDRINUSE; BAD_SETTING */
  static async open(options: EdgeOptions): Promise<Edge> {
    const { disk, dataDirectory, host, port, strict, tls, logger } = options;
    const sharesPort = options.edges > 1;
    const edge = new Edge(options, await KeyPolicy.open(disk, dataDirectory, strict, logger));
    if (port === undefined) return edge;
    await new Promise<void>((resolve, reject) => {
      edge.#http1.once('error', reject);
      edge.#http1.listen({ host, port, reusePort: sharesPort, backlog: 1024 }, resolve);
    });
    const accept = (socket: TLSSocket) => edge.#accept(socket);
    if (tls) edge.#tls = await TlsDoor.open({ ...tls, host, sharesPort, logger, accept });
    return edge;
  }

  /** Takes a connection that did not come by a door, and speaks HTTP/1.1. */
  connect(connection: Duplex): void {
    this.#http1.emit('connection', connection);
  }

  /** Stops accepting, answers what was begun, closes idle connections; cuts what takes longer. */
  async close(): Promise<void> {
    this.#isDraining = true;
    const closed = new Promise<void>((resolve) => this.#http1.close(() => resolve()));
    const sweep = setInterval(() => this.#http1.closeIdleConnections(), sweepEveryMs);
    for (const session of this.#http2Sessions) session.close();
    const cut = setTimeout(() => {
      this.#http1.closeAllConnections();
      this.#tls?.cut();
    }, limits.edgeDrainMs);
    await Promise.all([closed, this.#tls?.close()]);
    this.#policy.close();
    clearInterval(sweep);
    clearTimeout(cut);
  }

  #openHttp1(): Server {
    const server = createServer({
      maxHeaderSize: limits.headerBytesMax,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.keepAliveTimeoutMs,
      connectionsCheckingInterval: 1_000,
      noDelay: true,
      // Small devices that speak HTTP by hand leave it out; nothing here depends on it.
      requireHostHeader: false,
    });
    // Node would drop the headers beyond this without a word; the receiver refuses them instead.
    server.maxHeadersCount = limits.headersMax + 1;
    server.maxConnections = limits.connectionsMax;
    // A sender that has said all, and waits for the answer with its side closed, gets it.
    Object.assign(server, { httpAllowHalfOpen: true });
    // What a sender expects besides 100-continue is its own affair.
    server.on('checkExpectation', (request, response) => server.emit('request', request, response));
    server.on('request', (request, response) => {
      void this.#serve(request, (answer) => {
        if (this.#isDraining) response.shouldKeepAlive = false;
        send(response, answer, !request.complete);
      });
    });
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      this.#metrics.count('malformed', answerClientError(error, socket));
    });
    return server;
  }

  #openHttp2(): Http2Server {
    const server = createHttp2Server({
      maxHeaderListPairs: limits.headersMax,
      settings: {
        maxHeaderListSize: limits.headerBytesMax,
        maxConcurrentStreams: limits.http2StreamsMax,
      },
      maxSessionMemory: limits.http2SessionMebibytesMax,
    });
    server.on('session', (session) => {
      this.#http2Sessions.add(session);
      session.setTimeout(limits.keepAliveTimeoutMs, () => session.close());
      session.once('close', () => this.#http2Sessions.delete(session));
    });
    server.on('sessionError', () => this.#metrics.count('malformed', 400));
    server.on('request', (request, response) => {
      const late = setTimeout(() => request.stream.destroy(), limits.requestTimeoutMs);
      const settled = () => clearTimeout(late);
      request.once('end', settled).once('close', settled);
      void this.#serve(request, (answer) => sendHttp2(response, answer));
    });
    return server;
  }

  /** A connection after its handshake: the client has chosen the protocol. */
  #accept(socket: TLSSocket): void {
    if (socket.alpnProtocol !== 'h2') return void this.#http1.emit('connection', socket);
    // A session that was told to end waits for its streams, which have no more to come from.
    this.#http2.once('session', (session) => socket.once('close', () => session.destroy()));
    this.#http2.emit('connection', socket);
  }

  async #serve(
    request: Incoming,
    answer: (answer: NonNullable<Received['answer']>) => void,
  ): Promise<void> {
    const startedAt = performance.now();
    const received = await this.#receiver.receive(request).catch(unexpected);
    if (!received.answer) return this.#metrics.count(received.label, 499);
    answer(received.answer);
    this.#metrics.count(received.label, received.answer.status);
    this.#metrics.duration.observe((performance.now() - startedAt) / 1000);
  }
}

/** A bug of ours ends the process, so that it is seen; the sender's connection is cut. */
function unexpected(error: unknown): never {
  setImmediate(() => {
    throw error;
  });
  throw error;
}

/** Answers what Node's parser refused, if it can still be answered; returns the status. */
function answerClientError(error: NodeJS.ErrnoException, socket: Socket): number {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return 499;
  }
  const { status, type, body: bytes } = refusal(clientFault(error));
  const body = String(bytes);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n` +
      `Content-Type: ${type}\r\nDate: ${httpDate()}\r\nX-Content-Type-Options: nosniff\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
  return status;
}

function clientFault(error: NodeJS.ErrnoException): MillraceError {
  if (error.code === 'HPE_HEADER_OVERFLOW') {
    return fault('HEADERS_TOO_LARGE', { expected: `${limits.headerBytesMax} bytes` });
  }
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return fault('REQUEST_TIMEOUT');
  return fault('BAD_HTTP', { seen: error.code ?? 'unreadable' }, error);
}
