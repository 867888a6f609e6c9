import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, readFileSync, type WriteStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { fault } from '../base/index.ts';
import { bareEnvironment } from '../config.ts';

const main = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : '../main.js', import.meta.url),
);
const startTimeoutMs = 120_000;
const pollEveryMs = 20;
const wordsMax = 1_000;

/** A line of the server's log. */
type LogLine = Readonly<Record<string, unknown>>;

/**
 * A real server, as `millrace serve` starts it, in a process group of its own. Which of its
 * processes is which is read from its log.
 */
export class Server {
  readonly #process: ChildProcess;
  readonly #children = new Map<string, number>();
  readonly #onLine: (line: LogLine) => void;
  #stdout = '';
  /** What it said beside its log: why it cannot go on. */
  words = '';
  ingest = '';
  admin = '';

  private constructor(args: readonly string[], log: WriteStream, onLine: (line: LogLine) => void) {
    this.#onLine = onLine;
    const env = bareEnvironment();
    this.#process = spawn(process.execPath, [main, 'serve', ...args], { env, detached: true });
    this.#process.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text));
    let rest = '';
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log.write(text);
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#read(line);
    });
  }

  /** Begins to start one; see `ready`. */
  static spawn(
    args: readonly string[],
    logPath: string,
    onLine: (line: LogLine) => void = () => undefined,
  ): Server {
    return new Server(args, createWriteStream(logPath, { flags: 'a' }), onLine);
  }

  /** Resolves when it takes traffic. @throws SELFTEST_FAILED */
  async ready(): Promise<this> {
    await until('the server is ready', startTimeoutMs, () => {
      const [, ingest = '', admin = ''] =
        /is ready: ingest (\S+) admin (\S+)/.exec(this.#stdout) ?? [];
      [this.ingest, this.admin] = [ingest, admin];
      if (this.hasEnded) {
        throw fault('SELFTEST_FAILED', { seen: `the server does not start: ${this.words}` });
      }
      return admin !== '';
    });
    return this;
  }

  get hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** The id of a process that runs now: `store`, `edge-0` … */
  pidOf(name: string): number | undefined {
    return this.#children.get(name);
  }

  get edges(): readonly string[] {
    return [...this.#children.keys()].filter((name) => name.startsWith('edge-'));
  }

  /** Kills one process, and resolves when its supervisor has begun to start it anew. */
  async killChild(name: string): Promise<void> {
    const pid = this.#children.get(name);
    if (pid === undefined) throw fault('SELFTEST_FAILED', { seen: `there is no process ${name}` });
    killOne(pid);
    await until(`${name} is started again`, startTimeoutMs, () => {
      if (this.hasEnded) throw fault('SELFTEST_FAILED', { seen: 'the supervisor has ended' });
      return this.#children.get(name) !== pid;
    });
  }

  /** Kills the supervisor alone; what it started drains by itself, unless it is killed too. */
  async killSupervisor(): Promise<void> {
    const exited = once(this.#process, 'exit');
    killOne(this.#process.pid ?? 0);
    await exited;
  }

  /** Kills every process at once, as a power cut would. */
  killAll(): void {
    killOne(-(this.#process.pid ?? 0));
  }

  async killAllAndWait(): Promise<void> {
    const exited = this.hasEnded ? Promise.resolve() : once(this.#process, 'exit');
    this.killAll();
    await exited;
  }

  /** Resolves when none of its processes runs. */
  async gone(): Promise<void> {
    const pids = [...this.#children.values()];
    await until('all processes have ended', startTimeoutMs, () => !pids.some(runs));
  }

  /** Begins to stop it as an operator does. */
  drain(): void {
    this.#process.kill('SIGTERM');
  }

  /** Stops it as an operator does. @returns its exit code */
  async stop(): Promise<number | null> {
    const exited = once(this.#process, 'exit');
    this.drain();
    const [code] = (await exited) as [number | null];
    return code;
  }

  /** Asks the operator's door. @throws what went wrong, as text */
  async ask(method: 'GET' | 'POST', path: string, body?: unknown): Promise<Response> {
    const json = { 'Content-Type': 'application/json' };
    const given = body === undefined ? {} : { headers: json, body: JSON.stringify(body) };
    const response = await fetch(this.admin + path, { method, ...given });
    if (response.ok) return response;
    throw fault('SELFTEST_FAILED', { seen: `${path}: ${await response.text()}` });
  }

  #read(text: string): void {
    const line = lineIn(text);
    if (!line) return void (this.words = `${this.words} ${text.trim()}`.slice(-wordsMax));
    const { child, childPid } = line;
    if (typeof child === 'string' && typeof childPid === 'number') {
      this.#children.set(child, childPid);
    }
    this.#onLine(line);
  }
}

function lineIn(text: string): LogLine | undefined {
  try {
    return text.startsWith('{') ? (JSON.parse(text) as LogLine) : undefined;
  } catch {
    // Its process was killed in the middle of it.
    return undefined;
  }
}

/** Looks again and again until it is so. @throws SELFTEST_FAILED */
export async function until(
  what: string,
  timeoutMs: number,
  look: () => boolean | Promise<boolean>,
): Promise<void> {
  const startedAt = performance.now();
  while (!(await look())) {
    if (performance.now() - startedAt > timeoutMs) {
      throw fault('SELFTEST_FAILED', { seen: `not within ${timeoutMs / 1000} s: ${what}` });
    }
    await sleep(pollEveryMs);
  }
}

/** A process, or for a negative number a group of them; it may have ended already. */
function killOne(pid: number): void {
  // 0 would be the group of this process itself.
  if (pid === 0) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Whether a process runs; one that has ended stays for as long as nobody asks for its end. */
function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    // A system without /proc, and the process was there a moment ago.
    return syscall === 'open' && code === 'ENOENT' && process.platform !== 'linux';
  }
}
