import { type Clock, fault, type Ids, limits, type Logger } from '../base/index.ts';
import { MillraceError, messageOf } from '../base/index.ts';
import { encodeSubmission, receiptOf, type Submission } from '../event/index.ts';
import type { Log } from '../log/index.ts';
import { type Answer, corsHeaders, findRoute, type Found, preflight } from '../wire/index.ts';
import { Query, readableJson, refusal, splitTarget, type WireRequest } from '../wire/index.ts';
import type { WireSettings } from '../wire/index.ts';
import { type BodyBudget, decodeBody, type Incoming, type ReadBody, readBody } from './body.ts';
import type { TrustedProxies } from './client.ts';
import type { EdgeMetrics, RouteLabel } from './metrics.ts';
import type { KeyPolicy } from './policy.ts';
import { Turns } from './turns.ts';

const noBytes = Buffer.alloc(0);

export type ReceiverParts = {
  readonly log: Pick<Log, 'append'>;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly logger: Logger;
  readonly policy: KeyPolicy;
  readonly proxies: TrustedProxies;
  readonly settings: WireSettings;
  /** Documents by path. */
  readonly pages: ReadonlyMap<string, () => Promise<Answer>>;
  /** Of the log. */
  readonly shard: number;
  /** Says what a record of the log would become; asks the store. */
  readonly explain: (record: Buffer) => Promise<unknown>;
  /** Waits for the events of a stretch of the log to be settled; undefined if it takes too long. */
  readonly settle: (stretch: Stretch, waitMs: number) => Promise<string | undefined>;
};

/** Bytes of the log, and the tables (`database.table`) that its events are for. */
export type Stretch = { readonly from: number; readonly to: number; readonly tables: string[] };

/** An answer; with what was stored for it. */
type Performed = { readonly answer: Answer; readonly stretch?: Stretch };

/** What came of a request. `answer` is undefined when the sender went away. */
export type Received = { readonly label: RouteLabel; readonly answer: Answer | undefined };

/** From a request's head to its answer; what is to be stored is on disk by then. */
export class Receiver {
  readonly #parts: ReceiverParts;
  readonly #budget: BodyBudget;
  readonly #metrics: EdgeMetrics;
  readonly #decodings = new Turns(limits.decodingsMax);
  readonly #largeBodies = new Turns(limits.largeBodiesInWorkMax);
  #explaining = 0;
  #settling = 0;

  constructor(parts: ReceiverParts, budget: BodyBudget, metrics: EdgeMetrics) {
    this.#parts = parts;
    this.#budget = budget;
    this.#metrics = metrics;
  }

  /** @param rest lets others have their turn before more of its body is read. */
  async receive(incoming: Incoming, rest: () => void): Promise<Received> {
    const { path, search } = splitTarget(incoming.url ?? '');
    const page = this.#parts.pages.get(path.replace(/(?<=.)\/$/, ''));
    const found = findRoute(path);
    const label = page ? 'page' : found instanceof MillraceError ? 'other' : found.route.name;
    const request = this.#wireRequest(incoming, found, search);
    try {
      const answer = page
        ? await pageAnswer(page, request)
        : await this.#answer(incoming, rest, found, request);
      return { label, answer: answer && withCors(answer, request) };
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      this.#metrics.refused(error.code);
      const answer =
        found instanceof MillraceError ? refusal(error) : found.route.refuse(error, request);
      return { label, answer: withCors(answer, request) };
    }
  }

  async #answer(
    incoming: Incoming,
    rest: () => void,
    found: Found | MillraceError,
    request: WireRequest,
  ): Promise<Answer | undefined> {
    const bytesMax =
      found instanceof MillraceError ? limits.bodyBytesMax : found.route.bodyBytesMax;
    const read = await readBody(incoming, this.#budget, bytesMax, rest);
    if (read === undefined) return undefined;
    const { answer, stretch } = await this.#answerTo(read, found, request, bytesMax);
    // The body's room is given back by now: who waits holds none.
    return stretch ? this.#afterWaiting(answer, stretch, request) : answer;
  }

  async #answerTo(
    read: ReadBody,
    found: Found | MillraceError,
    request: WireRequest,
    bytesMax: number,
  ): Promise<Performed> {
    let heldBytes = read.budgetBytes;
    try {
      if (found instanceof MillraceError) {
        // Else a page could not read why its request is refused.
        if (request.method !== 'OPTIONS') throw found;
        return { answer: preflight(['POST', 'GET'], request.headers) };
      }
      const asked = answerToAsking(found.route.methods, request);
      if (asked) return { answer: asked };
      const body = await this.#decoded(read.bytes, request.headers['content-encoding'], bytesMax);
      if (body !== read.bytes) {
        if (!this.#budget.take(body.length, body.length)) throw fault('EDGE_BUSY');
        heldBytes += body.length;
      }
      const perform = () => {
        const receivedAtMs = this.#parts.clock.nowMs();
        return this.#perform(found, { ...request, body, receivedAtMs });
      };
      // Small ones do not stand behind more than a few large ones, here and before the disk.
      const isLarge = body.length > limits.smallBodyBytesMax;
      return await (isLarge ? this.#largeBodies.run(perform) : perform());
    } finally {
      this.#budget.give(heldBytes);
    }
  }

  /** A few at a time: little that is sent can become much, and the log needs its threads. */
  async #decoded(bytes: Buffer, encoding: string | undefined, bytesMax: number): Promise<Buffer> {
    if (encoding === undefined) return bytes;
    if (this.#decodings.waiting === limits.decodingsWaitingMax) throw fault('EDGE_BUSY');
    return this.#decodings.run(() => decodeBody(bytes, encoding, bytesMax));
  }

  async #perform({ route }: Found, request: WireRequest): Promise<Performed> {
    const outcome = route.read(request);
    if (outcome.kind === 'answer') return { answer: outcome.answer };
    const { submission } = outcome;
    const isGood = await this.#parts.policy.check(submission, request.headers);
    if (outcome.kind === 'explain') return { answer: await this.#explain(submission) };
    // Of whom no row will tell, the operator wants to know where to look.
    const context = isGood
      ? submission.context
      : { ...submission.context, from: request.clientAddress };
    const record = encodeSubmission({ ...submission, context });
    const offset = await this.#store(submission, record);
    const receipt = receiptOf(submission, record, this.#parts.shard, offset);
    const answer = withHeader(outcome.answer, 'X-Millrace-Receipt', receipt);
    const tables = submission.groups.map(({ database, table }) => `${database}.${table}`);
    return { answer, stretch: { from: offset, to: offset + record.length, tables } };
  }

  async #afterWaiting(answer: Answer, stretch: Stretch, request: WireRequest): Promise<Answer> {
    const waitMs = preferredWaitMs(request.headers.prefer);
    if (waitMs === 0) return answer;
    const applied = withHeader(answer, 'Preference-Applied', 'wait');
    return withHeader(applied, 'X-Millrace-State', await this.#settle(stretch, waitMs));
  }

  /** What the events have become: `queryable`, `quarantined …`, or only `durable` so far. */
  async #settle(stretch: Stretch, waitMs: number): Promise<string> {
    if (this.#settling >= limits.preferWaitersMax) return 'durable';
    this.#settling += 1;
    try {
      return (await this.#parts.settle(stretch, waitMs)) ?? 'durable';
    } finally {
      this.#settling -= 1;
    }
  }

  /** Asks the store. Few may do so at once: it has events to load. */
  async #explain(submission: Submission): Promise<Answer> {
    if (this.#explaining >= limits.explainsMax) throw fault('EDGE_BUSY');
    this.#explaining += 1;
    try {
      const told = await this.#parts.explain(encodeSubmission(submission));
      if (told === undefined) throw fault('NO_ANSWER', { seen: 'the tables' });
      return readableJson(told);
    } finally {
      this.#explaining -= 1;
    }
  }

  /** The record's offset, when it is on disk. */
  async #store(submission: Submission, record: Buffer): Promise<number> {
    const count = submission.groups.reduce((sum, { bodies }) => sum + bodies.length, 0);
    this.#metrics.received.inc(count);
    try {
      const offset = await this.#parts.log.append(record, count);
      this.#metrics.durable.inc(count);
      return offset;
    } catch (error) {
      if (error instanceof MillraceError) throw error;
      this.#parts.logger.error({ error: messageOf(error) }, 'append failed');
      throw error;
    }
  }

  #wireRequest(incoming: Incoming, found: Found | MillraceError, search: string): WireRequest {
    const { database, table } =
      found instanceof MillraceError ? { database: '', table: '' } : found;
    // Node joins what is repeated: a string, or nothing. Only Set-Cookie would be a list.
    const headers = incoming.headers as Readonly<Record<string, string | undefined>>;
    const peer = incoming.socket.remoteAddress ?? '';
    const { proxies, ids, settings } = this.#parts;
    return {
      method: incoming.method ?? '',
      database,
      table,
      query: new Query(search),
      headers,
      body: noBytes,
      receivedAtMs: 0,
      clientAddress: proxies.clientOf(peer, headers['x-forwarded-for']),
      chance: (count) => ids.bytes(count),
      settings,
    };
  }
}

function withHeader(answer: Answer, name: string, value: string): Answer {
  return { ...answer, headers: [...answer.headers, [name, value]] };
}

/** RFC 7240: how long the sender would wait for its row. */
function preferredWaitMs(prefer: string | undefined): number {
  const seconds = /(?:^|[,;\s])wait=(\d{1,9})(?![\w.])/i.exec(prefer ?? '')?.[1] ?? '0';
  return 1_000 * Math.min(limits.preferWaitMax, Number(seconds));
}

/** What every path answers to those who ask whether it is there, and what may be sent. */
function answerToAsking(methods: readonly string[], request: WireRequest): Answer | undefined {
  const { method, headers } = request;
  const allowed = [...methods, 'HEAD', 'OPTIONS'];
  if (method === 'OPTIONS') return preflight(allowed, headers);
  if (method === 'HEAD') return { status: 200, type: 'application/json', body: '{}', headers: [] };
  if (methods.includes(method)) return undefined;
  throw fault('BAD_METHOD', { seen: method.slice(0, 20), expected: allowed.join(', ') });
}

async function pageAnswer(page: () => Promise<Answer>, request: WireRequest): Promise<Answer> {
  const asked = request.method === 'HEAD' ? undefined : answerToAsking(['GET'], request);
  return asked ?? (await page());
}

function withCors(answer: Answer, { headers }: WireRequest): Answer {
  const cors = corsHeaders(headers.origin);
  return cors.length === 0 ? answer : { ...answer, headers: [...answer.headers, ...cors] };
}
