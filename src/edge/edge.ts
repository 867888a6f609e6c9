import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createHttp2Server, type Http2Server, type Http2Session } from 'node:http2';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import {
  assert,
  type Disk,
  fault,
  limits,
  type Logger,
  MillraceError,
  type Metrics,
} from '../base/index.ts';
import { refusal, type WireSettings } from '../wire/index.ts';
import { bareText, send, sendHttp2 } from './answer.ts';
import { BodyBudget, type Incoming } from './body.ts';
import { TrustedProxies } from './client.ts';
import { closeSoon, Connections } from './connections.ts';
import { type EdgeMetrics, edgeMetrics } from './metrics.ts';
import { HotLane } from './hot.ts';
import { KeyPolicy } from './policy.ts';
import { type Received, Receiver, type ReceiverParts } from './receive.ts';
import { TlsDoor, type TlsOptions } from './tls.ts';

export type EdgeOptions = Omit<ReceiverParts, 'policy' | 'proxies' | 'settings'> & {
  readonly disk: Disk;
  readonly logger: Logger;
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
  /** Whether requests of the strict grammar are read without Node's parser. */
  readonly hotLane: 'on' | 'off';
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
  readonly #http2Sessions = new Map<Http2Session, Duplex>();
  readonly #connections: Connections;
  readonly #receiver: Receiver;
  readonly #hot: HotLane | undefined;
  readonly #metrics: EdgeMetrics;
  readonly #policy: KeyPolicy;
  /** The last answer that a connection of HTTP/1 waits for; `end` once it gets no more. */
  readonly #last = new WeakMap<Duplex, ServerResponse | 'end'>();
  #tls: TlsDoor | undefined;
  #isDraining = false;

  private constructor(options: EdgeOptions, policy: KeyPolicy) {
    const proxies = new TrustedProxies(options.trustedProxies);
    const budget = new BodyBudget();
    this.#connections = new Connections(() => this.#metrics.cut.inc());
    this.#metrics = edgeMetrics(options.metrics, {
      bodyBytes: () => budget.used,
      connections: () => this.#connections.count,
    });
    this.#receiver = new Receiver({ ...options, policy, proxies }, budget, this.#metrics);
    this.#policy = policy;
    this.#http1 = this.#openHttp1();
    this.#hot = options.hotLane === 'on' ? this.#openHotLane(budget) : undefined;
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
    this.#hot?.drain();
    const sweep = setInterval(() => this.#http1.closeIdleConnections(), sweepEveryMs);
    for (const session of this.#http2Sessions.keys()) session.close();
    const cut = setTimeout(() => {
      this.#http1.closeAllConnections();
      this.#hot?.cut();
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
    // Node would drop the headers beyond this without a word; `unfitHead` refuses them instead.
    server.maxHeadersCount = limits.headersMax + 1;
    // A client that reads no answer would keep its connection for ever.
    server.timeout = limits.stillTimeoutMs;
    // A sender that has said all, and waits for the answer with its side closed, gets it.
    Object.assign(server, { httpAllowHalfOpen: true });
    server.prependListener('connection', (socket) => this.#connections.add(socket));
    // What a sender expects besides 100-continue is its own affair.
    server.on('checkExpectation', (request, response) => server.emit('request', request, response));
    server.on('request', (request, response) => this.#begin(request, response));
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      this.#clientFailed(error, socket);
    });
    // Node would cut it at once, and the answers to those before it.
    server.on('connect', (_, socket) => {
      // Nobody else looks after it any more.
      socket.on('error', () => undefined).once('finish', () => socket.destroy());
      socket.resume();
      this.#refuseRest(fault('BAD_HTTP', { seen: 'CONNECT' }), socket);
    });
    return server;
  }

  /** Stands before Node's own listener, and gives it what it does not read itself. */
  #openHotLane(budget: BodyBudget): HotLane {
    const server = this.#http1;
    const [add, listener] = server.listeners('connection') as ((socket: Duplex) => void)[];
    assert(add && listener, "Node's server listens to its connections");
    const leave = (socket: Duplex) => listener.call(server, socket);
    const [connections, receiver, metrics] = [this.#connections, this.#receiver, this.#metrics];
    const hot = new HotLane({ connections, receiver, budget, metrics, leave });
    server.removeListener('connection', listener);
    server.on('connection', (socket) => hot.take(socket));
    return hot;
  }

  /** A request of HTTP/1, its head read. */
  #begin(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const last = this.#last.get(socket);
    // What stands behind the last answer of a connection is maybe no request at all.
    if (last === 'end' || last?.shouldKeepAlive === false) return;
    // Who always sends one more would never be answered for the last time.
    if (last?.headersSent === false && this.#isDraining) return;
    this.#last.set(socket, response);
    // Of what nobody reads nobody knows for sure where it ends.
    if (this.#receiver.isUnread(request)) response.shouldKeepAlive = false;
    const unfit = unfitHead(request);
    response.once('finish', () => {
      if (!unfit) this.#connections.end(socket);
      if (this.#last.get(socket) !== response) return;
      // An idle connection must not hold what was sent on it.
      if (response.shouldKeepAlive) this.#last.delete(socket);
      else this.#last.set(socket, 'end');
    });
    if (!unfit) {
      return this.#connections.begin(socket, () => this.#answer(request, response), request);
    }
    // At once: it is the last one, whatever stands behind it.
    this.#metrics.count('malformed', unfit.status);
    send(response, refusal(unfit), true);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    // While it waited for its turn, the rest of it turned out to be no request.
    if (response.writableEnded) return;
    const rest = () => this.#connections.rest(request.socket);
    void this.#serve(request, response, rest, (answer) => {
      const isLast = this.#last.get(request.socket) === response;
      if (this.#isDraining && isLast) response.shouldKeepAlive = false;
      // What is too large is not read to its end.
      send(response, answer, !request.complete || request.readableLength > 0);
    });
  }

  /** The parser gave up. What was asked before that is answered first, in its order. */
  #clientFailed(error: NodeJS.ErrnoException, socket: Socket): void {
    if (socket.destroyed || error.code === 'ECONNRESET') {
      this.#metrics.count('malformed', 499);
      return void socket.destroy();
    }
    // It was told to go, and goes on.
    if (!socket.writable) return closeSoon(socket);
    // A body that nobody reads may break off, before its request is answered or after.
    const last = this.#last.get(socket);
    const isShort = error.code === 'HPE_INVALID_EOF_STATE';
    if (isShort && last && last !== 'end' && this.#receiver.isUnread(last.req)) return;
    this.#refuseRest(clientFault(error), socket);
  }

  /** What comes now is no request. */
  #refuseRest(error: MillraceError, socket: Duplex): void {
    const last = this.#last.get(socket);
    if (last === 'end') return;
    const answer = refusal(error);
    if (last?.req.complete) {
      // The last answer of a connection is the last one.
      if (!last.shouldKeepAlive) return;
      this.#last.set(socket, 'end');
      // Before Node ends it, if its sender has.
      last.prependOnceListener('finish', () => socket.end(bareText(answer), 'latin1'));
    } else if (last === undefined) {
      this.#last.set(socket, 'end');
      socket.end(bareText(answer), 'latin1');
    } else if (last.headersSent) return;
    else {
      send(last, answer, true);
      // Whoever reads its body waits for an end that does not come.
      last.once('finish', () => last.req.destroy());
    }
    this.#metrics.count('malformed', answer.status);
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
      session.setTimeout(limits.keepAliveTimeoutMs, () => session.close());
    });
    server.on('sessionError', () => this.#metrics.count('malformed', 400));
    server.on('request', (request, response) => {
      const late = setTimeout(() => request.stream.destroy(), limits.requestTimeoutMs);
      const settled = () => clearTimeout(late);
      request.once('end', settled).once('close', settled);
      this.#beginHttp2(request, response);
    });
    return server;
  }

  /** A connection after its handshake: the client has chosen the protocol. */
  #accept(socket: TLSSocket): void {
    if (socket.alpnProtocol !== 'h2') {
      // As the plain door does: who has said all gets the answer.
      socket.allowHalfOpen = true;
      return void this.#http1.emit('connection', socket);
    }
    // A session that was told to end waits for its streams, which have no more to come from.
    this.#http2.once('session', (session) => {
      this.#connections.add(socket);
      this.#http2Sessions.set(session, socket);
      session.once('close', () => this.#http2Sessions.delete(session));
      socket.once('close', () => session.destroy());
    });
    this.#http2.emit('connection', socket);
  }

  #beginHttp2(request: Http2ServerRequest, response: Http2ServerResponse): void {
    const { session } = request.stream;
    const socket = session && this.#http2Sessions.get(session);
    if (!socket) return;
    response.once('close', () => this.#connections.end(socket));
    this.#connections.begin(socket, () => {
      // Its window is one: a stream sends no more before it has been read.
      const rest = () => undefined;
      void this.#serve(request, response, rest, (answer) => sendHttp2(response, answer));
    });
  }

  async #serve(
    request: Incoming,
    response: ServerResponse | Http2ServerResponse,
    rest: () => void,
    answer: (answer: NonNullable<Received['answer']>) => void,
  ): Promise<void> {
    const startedAt = performance.now();
    const received = await this.#receiver.receive(request, rest).catch(unexpected);
    // Meanwhile the rest of it turned out to be no request, and it has its answer.
    if (response.writableEnded) return;
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

/**
 * Why a head that the parser takes is refused here: what a proxy before us may read otherwise, and
 * what has more headers than are looked at.
 */
function unfitHead(request: IncomingMessage): MillraceError | undefined {
  const { headers, httpVersion, rawHeaders } = request;
  const encoding = headers['transfer-encoding'];
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    return fault('BAD_HTTP', { seen: `HTTP/${httpVersion}` });
  }
  if (encoding !== undefined && (encoding.toLowerCase() !== 'chunked' || httpVersion === '1.0')) {
    const seen = `Transfer-Encoding: ${encoding.slice(0, 80)} in HTTP/${httpVersion}`;
    return fault('BAD_HTTP', { seen });
  }
  if (rawHeaders.length / 2 <= limits.headersMax) return undefined;
  return fault('HEADERS_TOO_LARGE', { expected: `${limits.headersMax} headers` });
}

function clientFault(error: NodeJS.ErrnoException): MillraceError {
  if (error.code === 'HPE_HEADER_OVERFLOW') {
    return fault('HEADERS_TOO_LARGE', { expected: `${limits.headerBytesMax} bytes` });
  }
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return fault('REQUEST_TIMEOUT');
  return fault('BAD_HTTP', { seen: error.code ?? 'unreadable' }, error);
}
