import { fork, type ChildProcess as NodeChild } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { limits, type Logger, type Mark, messageOf, sleep } from '../base/index.ts';
import { type Hearer, type Line, listenForLines } from './line.ts';
import type { EdgeReport, FromChild, Role, ToChild } from './messages.ts';

const askTimeoutMs = 2_000;
const restartMsMin = 100;
/**
 * Each query keeps a thread of the pool while the engine works on it, and reads its file with
 * another; the loader and all else must find threads beside all of them.
 */
const threads = { edge: 4, store: 2 * limits.queriesMax + 12 };
const main = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : '../main.js', import.meta.url),
);

/** Why a process could not start, as it said it. */
export class StartError extends Error {
  readonly hint: string | undefined;

  constructor(message: string, hint: string | undefined) {
    super(message);
    this.name = 'StartError';
    this.hint = hint;
  }
}

/** A process as its supervisor has it: what of Node's is needed. */
export type Spawned = Pick<
  NodeChild,
  'on' | 'once' | 'emit' | 'send' | 'kill' | 'connected' | 'pid'
>;

type Child = {
  readonly role: Role;
  process: Spawned;
  startedAtMs: number;
  restartMs: number;
  isReady: boolean;
  hasExited: Promise<unknown>;
};

/** What is told something, and what tells: a child, or the store of another server. */
type Teller = { readonly role: Role; readonly process: Hearer };

type Ask = { readonly reports: Map<number, EdgeReport>; readonly answer: () => void };

/** Starts the processes of a server and keeps them running. */
export class Supervisor<Config> {
  readonly #config: Config;
  readonly #logger: Logger;
  readonly #fork: (role: Role) => Spawned;
  readonly #children: Child[] = [];
  readonly #durable = new Map<number, Mark>();
  readonly #asks = new Map<number, Ask>();
  /** The store of another server, while it has a line to this one. */
  #farStore: (Teller & { readonly process: Line }) | undefined;
  #door: { close(): unknown } | undefined;
  #askId = 0;
  #isDraining = false;

  private constructor(config: Config, logger: Logger, spawn: (role: Role) => Spawned) {
    this.#config = config;
    this.#logger = logger;
    this.#fork = spawn;
  }

  /** Resolves when every process can take traffic. @throws StartError */
  static async open<Config>(
    config: Config,
    roles: readonly Role[],
    logger: Logger,
    spawn = forkChild,
  ): Promise<Supervisor<Config>> {
    const supervisor = new Supervisor(config, logger, spawn);
    const started = roles.map((role) => supervisor.#start(role));
    try {
      await Promise.all(started);
    } catch (error) {
      await supervisor.close();
      throw error;
    }
    return supervisor;
  }

  /** Serves another server's store on a socket as it would its own. @throws BAD_SETTING */
  async listen(path: string): Promise<void> {
    this.#door = await listenForLines(path, (line) => {
      const store = { role: { kind: 'store' }, process: line } as const;
      // There is one: what it had before it was started anew is as good as cut.
      this.#farStore = store;
      line.on('message', (message: FromChild) => this.#receive(store, message));
      line.once('disconnect', () => {
        if (this.#farStore === store) this.#farStore = undefined;
      });
      const edges = this.#children.filter(({ role }) => role.kind === 'edge').length;
      this.#tell(store, { type: 'edges', edges });
      this.#tellDurable(store);
    });
  }

  /** Drains: edges, then the store. What takes too long is killed; it loses nothing by that. */
  async close(): Promise<void> {
    this.#isDraining = true;
    await this.#stop(this.#children.filter(({ role }) => role.kind === 'edge'));
    this.#door?.close();
    this.#farStore?.process.end();
    await this.#stop(this.#children.filter(({ role }) => role.kind === 'store'));
  }

  async #stop(children: readonly Child[]): Promise<void> {
    for (const child of children) this.#tell(child, { type: 'drain' });
    const timer = setTimeout(() => {
      for (const child of children) child.process.kill('SIGKILL');
    }, limits.drainTimeoutMs);
    await Promise.all(children.map(({ hasExited }) => hasExited));
    clearTimeout(timer);
  }

  #start(role: Role): Promise<void> {
    const spawned = this.#spawn(role);
    const child: Child = {
      role,
      process: spawned.process,
      hasExited: spawned.hasExited,
      startedAtMs: Date.now(),
      restartMs: restartMsMin,
      isReady: false,
    };
    this.#children.push(child);
    return new Promise((resolve, reject) => {
      this.#attend(child, resolve, reject);
    });
  }

  #spawn(role: Role): { readonly process: Spawned; readonly hasExited: Promise<unknown> } {
    const child = this.#fork(role);
    this.#logger.debug({ child: nameOf(role), childPid: child.pid }, 'a process is started');
    const error = new Promise((resolve) => child.once('error', resolve));
    const exit = new Promise((resolve) => child.once('exit', resolve));
    // Both: what it said last may still be in the pipe when it has exited.
    const disconnect = new Promise((resolve) => child.once('disconnect', resolve));
    const hasExited = Promise.race([error, Promise.all([exit, disconnect])]);
    return { process: child, hasExited };
  }

  /** Sends the start, listens, and starts again what dies. */
  #attend(child: Child, ready: () => void, failed: (error: unknown) => void): void {
    let failure: StartError | undefined;
    child.process.on('message', (message: FromChild) => {
      if (message.type === 'failed') failure = new StartError(message.message, message.hint);
      else if (message.type === 'ready') this.#becameReady(child, ready);
      else this.#receive(child, message);
    });
    child.process.once('exit', (code, signal) => {
      if (this.#isDraining) return ready();
      const name = nameOf(child.role);
      if (!child.isReady && child.restartMs === restartMsMin) {
        return failed(failure ?? new StartError(`${name} ended with ${signal ?? code}`, undefined));
      }
      const reason = failure?.message;
      this.#logger.warn({ child: name, code, signal, reason }, 'a process ended; it is restarted');
      void this.#restart(child);
    });
    child.process.once('error', (error) => {
      failure = new StartError(messageOf(error), undefined);
      if (child.process.pid === undefined) child.process.emit('exit', null, null);
    });
    this.#tell(child, { type: 'start', role: child.role, config: this.#config });
  }

  async #restart(child: Child): Promise<void> {
    const livedMs = Date.now() - child.startedAtMs;
    if (livedMs > limits.restartResetMs) child.restartMs = restartMsMin;
    child.isReady = false;
    await sleep(child.restartMs);
    child.restartMs = Math.min(limits.restartMsMax, child.restartMs * 2);
    if (this.#isDraining) return;
    Object.assign(child, this.#spawn(child.role), { startedAtMs: Date.now() });
    const done = () => undefined;
    this.#attend(child, done, done);
  }

  #becameReady(child: Child, ready: () => void): void {
    child.isReady = true;
    if (child.role.kind === 'store') this.#tellDurable(child);
    ready();
  }

  #tellDurable(store: Teller): void {
    for (const [shard, mark] of this.#durable) this.#tell(store, { type: 'durable', shard, mark });
  }

  get #store(): Teller | undefined {
    return (
      this.#farStore ?? this.#children.find(({ role, isReady }) => role.kind === 'store' && isReady)
    );
  }

  #receive(child: Teller, message: FromChild): void {
    if (message.type === 'durable' && child.role.kind === 'edge') {
      const { shard } = child.role;
      const { mark } = message;
      this.#durable.set(shard, mark);
      const store = this.#store;
      if (store) this.#tell(store, { type: 'durable', shard, mark });
    } else if (message.type === 'report') {
      const ask = this.#asks.get(message.id);
      const { shard, mark } = message.report;
      // What the store learns from a report it must hear again after a restart.
      this.#durable.set(shard, mark);
      ask?.reports.set(shard, message.report);
      ask?.answer();
    } else if (message.type === 'question') {
      const store = this.#store;
      if (store) this.#tell(store, message);
      else this.#tell(child, { ...message, type: 'told', value: undefined });
    } else if (message.type === 'told') {
      const asker = this.#children.find(
        ({ role }) => role.kind === 'edge' && role.shard === message.shard,
      );
      if (asker) this.#tell(asker, message);
    } else if (message.type === 'askEdges') {
      void this.#askEdges().then((reports) => {
        this.#tell(child, { type: 'reports', id: message.id, reports });
      });
    }
  }

  async #askEdges(): Promise<readonly EdgeReport[]> {
    this.#askId += 1;
    const id = this.#askId;
    const edges = this.#children.filter(({ role, isReady }) => role.kind === 'edge' && isReady);
    const reports = new Map<number, EdgeReport>();
    const stop = new AbortController();
    const answer = () => {
      if (reports.size === edges.length) stop.abort();
    };
    this.#asks.set(id, { reports, answer });
    answer();
    for (const edge of edges) this.#tell(edge, { type: 'ask', id });
    await sleep(askTimeoutMs, stop.signal);
    this.#asks.delete(id);
    return [...reports.values()].sort((a, b) => a.shard - b.shard);
  }

  #tell(child: Teller, message: ToChild<Config>): void {
    if (child.process.connected) child.process.send(message, () => undefined);
  }
}

/** By itself glibc keeps what large bodies took once; so it goes back to the system. */
const edgeMemory = { MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '131072' };

/** By itself V8 lets its young space become 128 MiB, and is no faster for it. */
const edgeFlags = ['--max-semi-space-size=16'];

function forkChild(role: Role): Spawned {
  const isEdge = role.kind === 'edge';
  const own = isEdge ? edgeMemory : {};
  return fork(main, ['--child'], {
    execArgv: [...(isEdge ? edgeFlags : []), ...process.execArgv],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: { ...own, ...process.env, UV_THREADPOOL_SIZE: String(threads[role.kind]) },
  });
}

function nameOf(role: Role): string {
  return role.kind === 'edge' ? `edge-${role.shard}` : 'store';
}
