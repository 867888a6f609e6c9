import { type Asked, assert, type Mark, messageOf, MillraceError } from '../base/index.ts';
import { keepLine, type Line } from './line.ts';
import type { EdgeReport, FromChild, Question, Role, ToChild } from './messages.ts';

/** Each costs an edge and the supervisor about as much as ten events. */
const durableEveryMs = 50;
const questionTimeoutMs = 5_000;

/** The process that a line belongs to: what of `process` is needed. */
export type ChildProcess = Pick<
  NodeJS.Process,
  'on' | 'once' | 'send' | 'connected' | 'pid' | 'exit'
>;

/** A process's line to its supervisor. */
export class ChildLink<Config> {
  readonly role: Role;
  readonly config: Config;
  readonly #process: ChildProcess;
  #askId = 0;
  readonly #asked = new Map<number, (reports: readonly EdgeReport[]) => void>();
  readonly #questions = new Map<string, (value: unknown) => void>();
  #onQuestion: ((asked: Asked, shard: number) => Promise<unknown>) | undefined;
  #onAsk: (() => Promise<EdgeReport>) | undefined;
  #onDurable: ((shard: number, mark: Mark) => void) | undefined;
  #onEdges: ((edges: number) => void) | undefined;
  /** How the edges are reached: by the supervisor, or by a line of their own that may be cut. */
  #edges: { readonly line: Line | undefined } | undefined;
  #drain: () => void = () => undefined;
  /** One that is yet to be sent. */
  #lastMark: Mark | undefined;
  #sentMarkAtMs = -Infinity;

  /** Resolves when the process is to drain, or its supervisor is gone. */
  readonly drained: Promise<void>;

  private constructor(child: ChildProcess, role: Role, config: Config) {
    this.#process = child;
    this.role = role;
    this.config = config;
    this.drained = new Promise((resolve) => {
      this.#drain = resolve;
    });
    child.on('message', (message) => this.#receive(message as ToChild<Config>));
    child.once('disconnect', () => this.#drain());
    // A terminal signals the whole group, but the order of a drain is the supervisor's.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) child.on(signal, () => {});
  }

  /** Waits for the supervisor's first message. */
  static open<Config>(child: ChildProcess): Promise<ChildLink<Config>> {
    assert(child.connected, 'this process has a supervisor');
    return new Promise((resolve) => {
      child.once('message', (first) => {
        const message = first as ToChild<Config>;
        assert(message.type === 'start', 'the first message is the start');
        resolve(new ChildLink(child, message.role, message.config));
      });
    });
  }

  ready(): void {
    this.#send({ type: 'ready' });
  }

  /** Says why the process cannot start, and ends it. */
  fail(error: unknown): void {
    const hint = error instanceof MillraceError ? error.hint : undefined;
    const message = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
    const text = hint === undefined ? message : messageOf(error);
    this.#send({ type: 'failed', message: text, hint }, () => this.#process.exit(1));
  }

  /** From an edge: what is on disk has grown. Sent at once, but not again before some ms. */
  durable(mark: Mark): void {
    const isDue = this.#lastMark !== undefined;
    this.#lastMark = mark;
    if (isDue) return;
    const send = () => {
      const last = this.#lastMark ?? mark;
      this.#lastMark = undefined;
      this.#sentMarkAtMs = performance.now();
      this.#send({ type: 'durable', mark: last });
    };
    setTimeout(send, Math.max(0, this.#sentMarkAtMs + durableEveryMs - performance.now()));
  }

  /** From an edge: its last word. Resolves when it is sent. */
  lastDurable(mark: Mark): Promise<void> {
    return new Promise((resolve) => this.#send({ type: 'durable', mark }, resolve));
  }

  /** For an edge: how to answer when asked. */
  onAsk(report: () => Promise<EdgeReport>): void {
    this.#onAsk = report;
  }

  /** For the store: what to do when a shard has grown. */
  onDurable(grown: (shard: number, mark: Mark) => void): void {
    this.#onDurable = grown;
  }

  /**
   * For the store: its edges are another server's, and reached by a socket at a path.
   * @param onEdges hears how many there are: 0 while there is no line to them.
   */
  follow(path: string, onEdges: (edges: number) => void): void {
    this.#edges = { line: undefined };
    this.#onEdges = onEdges;
    keepLine(path, (line) => {
      this.#edges = { line };
      line.on('message', (message) => this.#receive(message as ToChild<Config>));
      line.once('disconnect', () => {
        this.#edges = { line: undefined };
        onEdges(0);
        for (const answer of this.#asked.values()) answer([]);
        this.#asked.clear();
      });
    });
  }

  /** From the store: asks all edges; those that do not answer soon are missing. */
  readonly askEdges = (): Promise<readonly EdgeReport[]> => {
    this.#askId += 1;
    const id = this.#askId;
    return new Promise((resolve) => {
      if (this.#edges && !this.#edges.line?.connected) return resolve([]);
      this.#asked.set(id, resolve);
      this.#toEdges({ type: 'askEdges', id });
    });
  };

  /** From an edge: what would a record of the log become? Undefined if the store is busy. */
  readonly explain = (record: Buffer): Promise<unknown> => {
    return this.#askStore({ kind: 'explain', record: record.toString('base64') });
  };

  /** From an edge: what have events become? Undefined if they are not in the store in time. */
  readonly settle = async (
    stretch: { readonly from: number; readonly to: number; readonly tables: readonly string[] },
    waitMs: number,
  ): Promise<string | undefined> => {
    const timeoutMs = waitMs + questionTimeoutMs;
    const told = await this.#askStore({ kind: 'settle', ...stretch, waitMs }, timeoutMs);
    return typeof told === 'string' ? told : undefined;
  };

  /** Asks the store; undefined if it does not answer in time. */
  #askStore(asked: Asked, timeoutMs = questionTimeoutMs): Promise<unknown> {
    assert(this.role.kind === 'edge', 'an edge asks');
    const { shard } = this.role;
    this.#askId += 1;
    // An answer to an edge that has died is not for the one that took its place.
    const id = `${this.#process.pid}-${this.#askId}`;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#told(id, undefined), timeoutMs);
      this.#questions.set(id, (value) => {
        clearTimeout(timer);
        resolve(value);
      });
      this.#send({ type: 'question', id, shard, asked });
    });
  }

  /** For the store: how to answer an edge. */
  onQuestion(answer: (asked: Asked, shard: number) => Promise<unknown>): void {
    this.#onQuestion = answer;
  }

  #told(id: string, value: unknown): void {
    this.#questions.get(id)?.(value);
    this.#questions.delete(id);
  }

  async #answer({ id, shard, asked }: Question): Promise<void> {
    const nothing = () => undefined;
    const value = await this.#onQuestion?.(asked, shard).catch(nothing);
    this.#toEdges({ type: 'told', id, shard, value });
  }

  #toEdges(message: FromChild): void {
    if (this.#edges) this.#edges.line?.send(message);
    else this.#send(message);
  }

  #receive(message: ToChild<Config>): void {
    switch (message.type) {
      case 'question':
        return void this.#answer(message);
      case 'told':
        return this.#told(message.id, message.value);
      case 'ask':
        void this.#onAsk?.().then((report) => {
          this.#send({ type: 'report', id: message.id, report });
        });
        return;
      case 'durable':
        return this.#onDurable?.(message.shard, message.mark);
      case 'reports':
        this.#asked.get(message.id)?.(message.reports);
        this.#asked.delete(message.id);
        return;
      case 'edges':
        return this.#onEdges?.(message.edges);
      case 'drain':
        return this.#drain();
      case 'start':
        return;
    }
  }

  #send(message: FromChild, sent: () => void = () => undefined): void {
    // A line that is cut is no error here: 'disconnect' drains the process.
    if (this.#process.connected) this.#process.send?.(message, undefined, undefined, () => sent());
    else sent();
  }
}
