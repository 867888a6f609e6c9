import { createServer, type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Clock, fault, limits, type Logger, MillraceError, messageOf } from '../base/index.ts';
import type { Metrics } from '../base/index.ts';
import { encodeEnvelope, readPostback } from '../event/index.ts';
import type { Log } from '../log/index.ts';
import { accept, httpDate, refusalText, refuse } from './answer.ts';
import { BodyBudget, decodeBody, readBody } from './body.ts';
import { edgeMetrics } from './metrics.ts';
import { type Route, route } from './routes.ts';

export type EdgeOptions = {
  readonly host: string;
  readonly port: number;
  /** Whether other edges listen on the same port. */
  readonly sharesPort: boolean;
  readonly log: Pick<Log, 'append'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
};

const sweepEveryMs = 50;

/** The collector: one HTTP server over one shard of the log. */
export class Edge {
  readonly #options: EdgeOptions;
  readonly #server: Server;
  readonly #budget = new BodyBudget();
  readonly #metrics: ReturnType<typeof edgeMetrics>;
  #isDraining = false;

  private constructor(options: EdgeOptions) {
    this.#options = options;
    this.#metrics = edgeMetrics(options.metrics, () => this.#budget.used);
    this.#server = createServer({
      maxHeaderSize: limits.headerBytesMax,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.keepAliveTimeoutMs,
      connectionsCheckingInterval: 1_000,
      noDelay: true,
      // Small devices that speak HTTP by hand leave it out; nothing here depends on it.
      requireHostHeader: false,
    });
    // Node would drop the headers beyond this without a word; `#receive` refuses them instead.
    this.#server.maxHeadersCount = limits.headersMax + 1;
    this.#server.maxConnections = limits.connectionsMax;
    this.#server.on('request', (request, response) => {
      void this.#serve(request, response);
    });
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      this.#metrics.count('malformed', answerClientError(error, socket));
    });
  }

  /** Listens. @throws what the system says, for example EADDRINUSE */
  static async open(options: EdgeOptions): Promise<Edge> {
    const edge = new Edge(options);
    const { host, port, sharesPort } = options;
    await new Promise<void>((resolve, reject) => {
      edge.#server.once('error', reject);
      edge.#server.listen({ host, port, reusePort: sharesPort, backlog: 1024 }, resolve);
    });
    return edge;
  }

  /** Stops accepting, answers what was begun, closes idle connections; cuts what takes longer. */
  async close(): Promise<void> {
    this.#isDraining = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const sweep = setInterval(() => this.#server.closeIdleConnections(), sweepEveryMs);
    const cut = setTimeout(() => this.#server.closeAllConnections(), limits.edgeDrainMs);
    await closed;
    clearInterval(sweep);
    clearTimeout(cut);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now();
    if (this.#isDraining) response.shouldKeepAlive = false;
    const found = route(request.method ?? '', request.url ?? '');
    const outcome = await this.#receive(request, found).catch(unexpected);
    const routeLabel = found instanceof MillraceError ? 'other' : 'postback';
    if (outcome === 'gone') return this.#metrics.count(routeLabel, 499);
    if (outcome === 'accepted') accept(response);
    else refuse(response, outcome, !request.complete);
    if (outcome instanceof MillraceError) this.#metrics.refused(outcome.code);
    this.#metrics.count(routeLabel, response.statusCode);
    this.#metrics.duration.observe((performance.now() - startedAt) / 1000);
  }

  /** From the request's head to the synced record, or why not. */
  async #receive(
    request: IncomingMessage,
    found: Route | MillraceError,
  ): Promise<'accepted' | 'gone' | MillraceError> {
    if (request.rawHeaders.length / 2 > limits.headersMax) {
      return fault('HEADERS_TOO_LARGE', { expected: `${limits.headersMax} headers` });
    }
    const read = await readBody(request, this.#budget);
    if (read === undefined) return 'gone';
    if (read instanceof MillraceError) return read;
    try {
      if (found instanceof MillraceError) return found;
      const body = await decodeBody(read.bytes, request.headers['content-encoding']);
      if (body instanceof MillraceError) return body;
      return await this.#store(request, found, body);
    } finally {
      this.#budget.give(read.budgetBytes);
    }
  }

  async #store(
    request: IncomingMessage,
    { database, table, keyQuery }: Route,
    body: Buffer,
  ): Promise<'accepted' | MillraceError> {
    // Node joins what is repeated: a string, or nothing.
    const keyHeader = request.headers['x-td-write-key'] as string | undefined;
    const receivedAtMs = this.#options.clock.nowMs();
    const postback = readPostback({ database, table, keyHeader, keyQuery, body }, receivedAtMs);
    if (postback instanceof MillraceError) return postback;
    this.#metrics.received.inc();
    try {
      await this.#options.log.append(encodeEnvelope(postback));
    } catch (error) {
      if (error instanceof MillraceError) return error;
      this.#options.logger.error({ error: messageOf(error) }, 'append failed');
      throw error;
    }
    this.#metrics.durable.inc();
    return 'accepted';
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
  const refusal = clientFault(error);
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return 499;
  }
  const text = refusalText(refusal);
  socket.end(
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\n` +
      `Content-Type: application/json\r\nDate: ${httpDate()}\r\n` +
      `Content-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
  );
  return refusal.status;
}

function clientFault(error: NodeJS.ErrnoException): MillraceError {
  if (error.code === 'HPE_HEADER_OVERFLOW') {
    return fault('HEADERS_TOO_LARGE', { expected: `${limits.headerBytesMax} bytes` });
  }
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return fault('REQUEST_TIMEOUT');
  return fault('BAD_HTTP', { seen: error.code ?? 'unreadable' }, error);
}
