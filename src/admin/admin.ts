import { Readable } from 'node:stream';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import {
  type Clock,
  fault,
  limits,
  mergeMetrics,
  type Metrics,
  MillraceError,
  patient,
  sleep,
  type Task,
} from '../base/index.ts';
import type { Loader } from '../loader/index.ts';
import { formats, type Queries } from '../query/index.ts';
import type { Store } from '../store/index.ts';
import type { EdgeReport } from '../supervise/index.ts';
import { marksOf, type Workplace } from './operation.ts';
import { operations, watermarkHeaders } from './operations.ts';
import { readiness } from './readiness.ts';
import { logBytes, readStatus, type Status } from './status.ts';
import { errorBody, telling } from './telling.ts';

export type AdminOptions = {
  readonly port: number;
  readonly dataDirectory: string;
  /** How many edges there are, as far as anybody knows. */
  readonly edges: () => number;
  readonly version: string;
  /** Named by `server.json`; a client that means another server is sent away. */
  readonly instance: string;
  readonly store: Store;
  readonly loader: Loader;
  readonly queries: Queries;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly askEdges: () => Promise<readonly EdgeReport[]>;
  readonly shards: Workplace['shards'];
  readonly marks: Workplace['marks'];
};

const parameter = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const querySchema = z.strictObject({
  sql: z.string(),
  /** By position, or by name. */
  parameters: z.union([z.array(parameter), z.record(z.string(), parameter)]).optional(),
  format: z.enum(formats).default('json'),
  /** A receipt: the query waits until its events are in the tables. */
  after: z.string().optional(),
  timeoutMs: z.int().min(1).max(limits.queryTimeoutMsMax).optional(),
  rowsMax: z.int().min(0).max(limits.queryRowsMax).optional(),
  bytesMax: z.int().min(0).max(limits.queryBytesMax).optional(),
});
const ndjson = 'application/x-ndjson';
const contentTypes = {
  json: 'application/json',
  ndjson,
  csv: 'text/csv; charset=utf-8',
  arrow: 'application/vnd.apache.arrow.stream',
  parquet: 'application/vnd.apache.parquet',
  rows: ndjson,
};

/** No page of another origin may make a script or a picture of an answer. */
const guards = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
};
const otherPage = 'this door does not answer to pages of other origins';

/** The admin server. */
export class Admin {
  readonly #options: AdminOptions;
  readonly #server: FastifyInstance;

  private constructor(options: AdminOptions) {
    this.#options = options;
    this.#server = fastify({ bodyLimit: limits.sqlBytesMax, forceCloseConnections: true });
    this.#server.addHook('onRequest', (request, reply, done) => {
      void reply.headers(guards);
      const refusal = this.#checkAddress(request);
      if (refusal) void reply.code(421).send({ error: refusal });
      else if (isOfOtherPage(request)) void reply.code(403).send({ error: otherPage });
      else done();
    });
    this.#server.setErrorHandler((error, _request, reply) => answerError(error, reply));
    const { metrics, dataDirectory } = options;
    metrics.gauge('millrace_wal_bytes', 'Bytes of the log on disk.', () => logBytes(dataDirectory));
    metrics.fact('millrace_build_info', 'Which Millrace this is.', { version: options.version });
    this.#routes();
  }

  /** Listens on loopback. @throws what the system says, for example EADDRINUSE */
  static async open(options: AdminOptions): Promise<Admin> {
    const admin = new Admin(options);
    await admin.#server.listen({ host: '127.0.0.1', port: options.port });
    return admin;
  }

  async close(): Promise<void> {
    await this.#server.close();
  }

  #routes(): void {
    const { store, loader, queries, metrics, askEdges, clock } = this.#options;
    for (const [path, operate] of Object.entries(operations)) {
      this.#server.post(`/${path}`, async (request, reply) => {
        const { signal } = leaving(reply);
        const begin = (task: Task) => operate(this.#options, request.body as never, task);
        if (!request.headers.accept?.includes(ndjson)) return begin({ ...patient, signal });
        return reply.type(ndjson).send(telling(begin, signal, clock));
      });
    }
    this.#server.get('/receipts/:receipt', (request) => {
      return operations['receipts/show'](this.#options, request.params as never);
    });
    this.#server.get('/healthz', () => ({ status: 'alive' }));
    this.#server.get('/readyz', async (_request, reply) => {
      const { ready, checks } = readiness(this.#options.edges(), await askEdges(), clock.nowMs());
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not ready', checks });
    });
    this.#server.get('/metrics', async (_request, reply) => {
      const reports = await askEdges();
      const own = await metrics.snapshot();
      const text = await mergeMetrics([own, ...reports.map((report) => report.metrics)]);
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(text);
    });
    this.#server.get('/status', async (): Promise<Status> => {
      const { dataDirectory } = this.#options;
      return readStatus(dataDirectory, store, loader, await askEdges(), clock.nowMs());
    });
    this.#server.post('/flush', async () => {
      await this.#flush();
      return { status: 'flushed' };
    });
    this.#server.post('/query', (request, reply) => this.#query(request, reply));
    this.#server.get('/queries', () => queries.list());
    this.#server.get('/queries/:id', ({ params }) => queries.report(idIn(params)));
    this.#server.delete('/queries/:id', ({ params }) => queries.cancel(idIn(params)));
  }

  async #query(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const read = querySchema.safeParse(request.body);
    if (!read.success) {
      const seen = read.error.issues.map(({ path, message }) => [...path, message].join(': '));
      throw fault('BAD_REQUEST', { seen: seen.join('; ') });
    }
    const { after, ...asked } = read.data;
    const gone = leaving(reply).signal;
    const query = await this.#options.queries.run(asked, { after, gone });
    const headers = { ...watermarkHeaders(query.watermark), 'x-millrace-query-id': query.id };
    const pieces = Readable.from(query.pieces(), { objectMode: false });
    return reply.headers(headers).type(contentTypes[asked.format]).send(pieces);
  }

  /** Waits until all edges have answered, then until their events are loaded. */
  async #flush(): Promise<void> {
    const stop = new AbortController();
    const timeout = sleep(limits.flushTimeoutMs, stop.signal).then(() => 'late' as const);
    const work = async () => {
      const marks = await marksOf(this.#options, stop.signal);
      if (marks === undefined) return 'late' as const;
      await this.#options.loader.flush(marks);
      return 'done' as const;
    };
    const outcome = await Promise.race([work(), timeout]);
    stop.abort();
    if (outcome === 'late') throw fault('FLUSH_TIMEOUT', { seen: limits.flushTimeoutMs / 1000 });
  }

  /** Why a request was not meant for this server. */
  #checkAddress({ headers }: FastifyRequest): string | undefined {
    const host = (headers.host ?? '').replace(/:\d+$/, '');
    if (!['127.0.0.1', 'localhost', '[::1]'].includes(host)) {
      return 'this door answers to loopback names only';
    }
    const instance = headers['x-millrace-instance'];
    if (instance !== undefined && instance !== this.#options.instance) {
      return 'this is another Millrace';
    }
    return undefined;
  }
}

/** A browser on this machine would ask in the name of any page; only answers are kept from it. */
function isOfOtherPage({ headers: { origin, host } }: FastifyRequest): boolean {
  return origin !== undefined && origin !== `http://${host}`;
}

function idIn(params: unknown): string {
  return (params as { readonly id: string }).id;
}

/** Aborts when whoever asked has left, or has the answer. */
function leaving(reply: FastifyReply): AbortController {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  return gone;
}

function answerError(error: unknown, reply: FastifyReply): FastifyReply {
  const known = error instanceof MillraceError ? error.status : undefined;
  const status = known ?? (error as { statusCode?: number }).statusCode ?? 500;
  return reply.code(status).send(errorBody(error));
}
