import type { Duplex } from 'node:stream';
import { type Clock, fault, type Ids, limits, MillraceError } from '../base/index.ts';
import { encodeSubmission, receiptOf, receiptText, type Submission } from '../event/index.ts';
import { stateOf } from '../keys/index.ts';
import type { Log } from '../log/index.ts';
import { accepted, type Answer, corsHeaders, findRoute, type Found } from '../wire/index.ts';
import {
  preflight,
  Query,
  readableJson,
  refusal,
  splitTarget,
  type WireRequest,
} from '../wire/index.ts';
import type { Headers, Outcome, WireSettings } from '../wire/index.ts';
import { type BodyBudget, decodeBody, type Incoming, type ReadBody, readBody } from './body.ts';
import type { TrustedProxies } from './client.ts';
import type { EdgeMetrics, RouteLabel } from './metrics.ts';
import { type PlainHead, readPlainHead } from './plain.ts';
import type { KeyPolicy } from './policy.ts';
import { Rooms } from './rooms.ts';
import { Turns } from './turns.ts';

const noBytes = Buffer.alloc(0);
const noQuery = new Query('');

export type ReceiverParts = {
  readonly log: Pick<Log, 'add' | 'append'>;
  readonly clock: Clock;
  readonly ids: Ids;
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

/** An answer; with what was stored for it, if the sender would wait for its rows. */
type Performed = { readonly answer: Answer; readonly stretch?: Stretch };

/** What came of a request. `answer` is undefined when the sender went away. */
export type Received = { readonly label: RouteLabel; readonly answer: Answer | undefined };

/** From a request's head to its answer; what is to be stored is on disk by then. */
export class Receiver {
  readonly #parts: ReceiverParts;
  readonly #budget: BodyBudget;
  readonly #metrics: EdgeMetrics;
  readonly #rooms = new Rooms();
  readonly #decodings = new Turns(limits.decodingsMax);
  readonly #largeBodies = new Turns(limits.largeBodiesInWorkMax);
  /** Paths that took events lately. */
  readonly #known = new Map<string, Found>();
  readonly #chance = (count: number) => this.#parts.ids.bytes(count);
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
    const page = this.#pageAt(path);
    const found = findRoute(path);
    const label = page ? 'page' : found instanceof MillraceError ? 'other' : found.route.name;
    const request = this.#wireRequest(incoming, found, search);
    try {
      const answer = page
        ? await pageAnswer(page, request)
        : await this.#answer(incoming, rest, found, request);
      return { label, answer: answer && withCors(answer, request) };
    } catch (error) {
      return { label, answer: this.#refused(error, found, request) };
    }
  }

  /** Whether a request has a body that nobody reads: one to a page. */
  isUnread({ url, headers }: Incoming): boolean {
    const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers;
    if (encoding === undefined && Number(length) === 0) return false;
    return this.#pageAt(splitTarget(url ?? '').path) !== undefined;
  }

  /**
   * The same for a `POST` that is there as a whole, small, not encoded and without a query. What
   * need not wait for the disk is done at once.
   * @param found by `formAt`
   * @param body kept no longer than until it is in a record
   * @param peer by `addressOf`
   * @param done is called once, at once or when all is on disk; its answer is always there
   */
  receiveWhole(
    found: Found,
    headers: Headers,
    body: Buffer,
    peer: string,
    done: (received: Received) => void,
  ): void {
    const label = found.route.name;
    const request = this.#wholeRequest(found, headers, body, peer);
    const heldBytes = this.#budget.take(body.length, body.length) ? body.length : 0;
    const answered = (answer: Answer) => done({ label, answer: withCors(answer, request) });
    const performed = ({ answer, stretch }: Performed) => {
      this.#budget.give(heldBytes);
      if (!stretch) return answered(answer);
      void this.#afterWaiting(answer, stretch, request).then(answered);
    };
    const failed = (error: unknown) => {
      this.#budget.give(heldBytes);
      done({ label, answer: this.#refused(error, found, request) });
    };
    try {
      if (heldBytes < body.length) throw fault('EDGE_BUSY');
      const result = this.#perform(found, request);
      if (result instanceof Promise) void result.then(performed, failed);
      else performed(result);
    } catch (error) {
      failed(error);
    }
  }

  /**
   * What the head of a request of `receiveWhole` says of every plain one; undefined if each is to
   * be read by itself.
   */
  plainHead(found: Found, headers: Headers, peer: string): PlainHead | undefined {
    return readPlainHead(found, this.#wholeRequest(found, headers, noBytes, peer));
  }

  /**
   * The same as `receiveWhole` for a head that was read.
   * @returns false if nothing was done: the request is not plain
   */
  receivePlain(head: PlainHead, body: Buffer, done: (received: Received) => void): boolean {
    const { clock, log, policy, shard } = this.#parts;
    const receivedAtMs = clock.nowMs();
    if (head.keysVersion !== policy.version) {
      head.keysVersion = policy.version;
      head.key = policy.plainKey(head.submission);
    }
    const { key } = head;
    if (!key || stateOf(key, receivedAtMs) !== 'in force' || !head.isPlainBody(body)) return false;
    const { length } = body;
    if (!this.#budget.take(length, length)) return false;
    const label = head.found.route.name;
    this.#metrics.received.inc();
    const waiter = {
      durable: (offset: number) => {
        this.#budget.give(length);
        this.#metrics.durable.inc();
        done({ label, answer: withReceipt(accepted, receiptText(shard, offset)) });
      },
      refused: (error: unknown) => {
        this.#budget.give(length);
        done({ label, answer: this.#refused(error, head.found, head.request) });
      },
    };
    log.add(head.encoder.encode(receivedAtMs, body), 1, waiter, receivedAtMs);
    return true;
  }

  /** The form with a path, if it takes a `POST`. */
  formAt(path: string): Found | undefined {
    const known = this.#known.get(path);
    if (known) return known;
    const found = this.#pageAt(path) ? undefined : findRoute(path);
    if (!found || found instanceof MillraceError || !found.route.methods.includes('POST'))
      return undefined;
    if (this.#known.size >= limits.pathsKnownMax) this.#known.clear();
    this.#known.set(path, found);
    return found;
  }

  #pageAt(path: string): (() => Promise<Answer>) | undefined {
    return this.#parts.pages.get(path.replace(/(?<=.)\/$/, ''));
  }

  /** Of the sender on a connection, if no proxy says otherwise. */
  addressOf(connection: Duplex & { readonly remoteAddress?: string | undefined }): string {
    return this.#parts.proxies.clientOf(connection.remoteAddress ?? '', undefined);
  }

  /** The answer to what cannot be taken. */
  #refused(error: unknown, found: Found | MillraceError, request: WireRequest): Answer {
    if (!(error instanceof MillraceError)) throw error;
    this.#metrics.refused(error.code);
    const isNowhere = found instanceof MillraceError;
    return withCors(isNowhere ? refusal(error) : found.route.refuse(error, request), request);
  }

  async #answer(
    incoming: Incoming,
    rest: () => void,
    found: Found | MillraceError,
    request: WireRequest,
  ): Promise<Answer | undefined> {
    const bytesMax =
      found instanceof MillraceError ? limits.bodyBytesMax : found.route.bodyBytesMax;
    const read = await readBody(incoming, this.#budget, this.#rooms, bytesMax, rest);
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
      const perform = async () => {
        const receivedAtMs = this.#parts.clock.nowMs();
        return this.#perform(found, { ...request, body, receivedAtMs });
      };
      // Small ones do not stand behind more than a few large ones, here and before the disk.
      const isLarge = body.length > limits.smallBodyBytesMax;
      return await (isLarge ? this.#largeBodies.run(perform) : perform());
    } finally {
      this.#budget.give(heldBytes);
      read.free();
    }
  }

  /** A few at a time: little that is sent can become much, and the log needs its threads. */
  async #decoded(bytes: Buffer, encoding: string | undefined, bytesMax: number): Promise<Buffer> {
    if (encoding === undefined) return bytes;
    if (this.#decodings.waiting === limits.decodingsWaitingMax) throw fault('EDGE_BUSY');
    return this.#decodings.run(() => decodeBody(bytes, encoding, bytesMax));
  }

  #perform(found: Found, request: WireRequest): Performed | Promise<Performed> {
    const outcome = found.route.read(request);
    if (outcome.kind === 'answer') return { answer: outcome.answer };
    const isGood = this.#parts.policy.check(outcome.submission, request.headers);
    return isGood instanceof Promise
      ? isGood.then((good) => this.#carryOut(outcome, request, good))
      : this.#carryOut(outcome, request, isGood);
  }

  #carryOut(
    outcome: Exclude<Outcome, { kind: 'answer' }>,
    { headers, clientAddress }: WireRequest,
    isGood: boolean,
  ): Promise<Performed> {
    const { submission } = outcome;
    if (outcome.kind === 'explain') return this.#explain(submission);
    // Of whom no row will tell, the operator wants to know where to look.
    const context = isGood ? submission.context : { ...submission.context, from: clientAddress };
    let room: Buffer = noBytes;
    const take = (bytes: number) => (room = this.#rooms.take(bytes));
    const record = encodeSubmission({ ...submission, context }, take);
    const count = submission.groups.reduce((sum, { bodies }) => sum + bodies.length, 0);
    const { received, durable } = this.#metrics;
    received.inc(count);
    const stored = this.#parts.log.append(record, count).then((offset) => {
      durable.inc(count);
      const receipt = receiptOf(submission, record, this.#parts.shard, offset);
      const answer = withReceipt(outcome.answer, receipt);
      if (headers.prefer === undefined) return { answer };
      const tables = submission.groups.map(({ database, table }) => `${database}.${table}`);
      return { answer, stretch: { from: offset, to: offset + record.length, tables } };
    });
    return stored.finally(() => this.#rooms.give(room));
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
  async #explain(submission: Submission): Promise<Performed> {
    if (this.#explaining >= limits.explainsMax) throw fault('EDGE_BUSY');
    this.#explaining += 1;
    try {
      const told = await this.#parts.explain(encodeSubmission(submission));
      if (told === undefined) throw fault('NO_ANSWER', { seen: 'the tables' });
      return { answer: readableJson(told) };
    } finally {
      this.#explaining -= 1;
    }
  }

  #wireRequest(incoming: Incoming, found: Found | MillraceError, search: string): WireRequest {
    const { database, table } =
      found instanceof MillraceError ? { database: '', table: '' } : found;
    // Node joins what is repeated: a string, or nothing. Only Set-Cookie would be a list.
    const headers = incoming.headers as Headers;
    const peer = incoming.socket.remoteAddress ?? '';
    const { proxies, settings } = this.#parts;
    return {
      method: incoming.method ?? '',
      database,
      table,
      query: new Query(search),
      headers,
      body: noBytes,
      receivedAtMs: 0,
      clientAddress: proxies.clientOf(peer, headers['x-forwarded-for']),
      chance: this.#chance,
      settings,
    };
  }

  #wholeRequest(
    { database, table }: Found,
    headers: Headers,
    body: Buffer,
    peer: string,
  ): WireRequest {
    const { clock, proxies, settings } = this.#parts;
    const forwardedFor = headers['x-forwarded-for'];
    return {
      method: 'POST',
      database,
      table,
      query: noQuery,
      headers,
      body,
      receivedAtMs: clock.nowMs(),
      clientAddress: forwardedFor === undefined ? peer : proxies.clientOf(peer, forwardedFor),
      chance: this.#chance,
      settings,
    };
  }
}

function withReceipt(answer: Answer, receipt: string): Answer {
  return withHeader(answer, 'X-Millrace-Receipt', receipt);
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
