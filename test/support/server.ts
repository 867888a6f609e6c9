import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../bin/millrace.js', import.meta.url));

/** A folder that is gone after the test; `await using` removes it by itself. */
export async function temporaryDirectory(): Promise<
  { readonly path: string; readonly remove: () => Promise<void> } & AsyncDisposable
> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  const remove = () => rm(path, { recursive: true, force: true });
  return { path, remove, [Symbol.asyncDispose]: remove };
}

export type Ran = {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

/** Runs one command of the real program to its end. */
export async function millrace(
  args: readonly string[],
  options: {
    readonly env?: Record<string, string>;
    readonly input?: string;
    /** Another runtime than the one that runs the tests. */
    readonly node?: string;
  } = {},
): Promise<Ran> {
  const node = options.node ?? process.execPath;
  const child = spawn(node, [program, ...args], { env: cleanEnv(options.env) });
  child.stdin.end(options.input ?? '');
  const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout: stdout(), stderr: stderr() };
}

/** The rows of a query, by the command line. */
export async function query<Row = Record<string, unknown>>(
  data: string,
  sql: string,
): Promise<readonly Row[]> {
  const { code, stdout, stderr } = await millrace([
    'query',
    '--data',
    data,
    '--format',
    'json',
    sql,
  ]);
  if (code !== 0) throw new Error(`query failed: ${stderr}`);
  return JSON.parse(stdout) as Row[];
}

/** Makes a key by the command line. */
export async function createKey(
  data: string,
  database: string,
  args: readonly string[] = [],
): Promise<string> {
  const create = ['keys', 'create', '--data', data, '--database', database, '--json'];
  const ran = await millrace([...create, ...args]);
  if (ran.code !== 0) throw new Error(`no key: ${ran.stderr}`);
  return (JSON.parse(ran.stdout) as { key: string }).key;
}

/**
 * A real server in a process group of its own, on ports of its own. `await using` kills it, so
 * that a test that fails leaves nothing running.
 */
export class TestServer implements AsyncDisposable {
  readonly data: string;
  /** Empty for `--role store`. */
  readonly ingest: string;
  /** Empty for `--role edge`. */
  readonly admin: string;
  /** Undefined unless it was started with a certificate. */
  readonly tls: string | undefined;
  readonly process: ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;

  private constructor(
    data: string,
    urls: { ingest: string; admin: string; tls: string | undefined },
    child: ChildProcess,
    output: { stdout: () => string; stderr: () => string },
  ) {
    this.data = data;
    this.ingest = urls.ingest;
    this.admin = urls.admin;
    this.tls = urls.tls;
    this.process = child;
    this.stdout = output.stdout;
    this.stderr = output.stderr;
  }

  static async start(
    data: string,
    args: readonly string[] = [],
    wrapper: readonly string[] = [],
  ): Promise<TestServer> {
    const child = spawnServer(data, args, wrapper);
    const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
    const ready = /millrace is ready:(?: ingest (\S+))?(?: admin (\S+))?(?: tls (\S+))?\n/;
    for (;;) {
      const found = ready.exec(stdout());
      if (found) {
        const [, ingest = '', admin = '', tls] = found;
        return new TestServer(data, { ingest, admin, tls }, child, { stdout, stderr });
      }
      if (hasEnded(child)) throw new Error(`the server did not start: ${stderr()}`);
      await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    }
  }

  /** Starts a server and kills it, most likely before it is ready. */
  static async startAndKill(data: string, afterMs: number): Promise<void> {
    const child = spawnServer(data, [], []);
    const exited = once(child, 'exit');
    await sleep(afterMs);
    process.kill(-(child.pid ?? 0), 'SIGKILL');
    await exited;
  }

  /** Posts one event; `body` is JSON text or a value. */
  async post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    return fetch(`${this.ingest}/postback/v3/event/${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: text,
    });
  }

  /** Waits until all that was acknowledged is queryable. */
  async flush(): Promise<void> {
    const response = await fetch(`${this.admin}/flush`, { method: 'POST' });
    if (!response.ok) throw new Error(`flush: ${await response.text()}`);
  }

  /** The rows of a query, by the running server. */
  async query<Row = Record<string, unknown>>(sql: string): Promise<readonly Row[]> {
    const response = await fetch(`${this.admin}/query`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ sql, format: 'json' }),
    });
    if (!response.ok) throw new Error(`query: ${await response.text()}`);
    return (await response.json()) as Row[];
  }

  /** Kills every process of the server at once, as a power cut would. */
  async kill(): Promise<void> {
    if (hasEnded(this.process)) return;
    const exited = once(this.process, 'exit');
    process.kill(-(this.process.pid ?? 0), 'SIGKILL');
    await exited;
  }

  /** Stops the server as an operator does; gives its exit code. */
  async stop(): Promise<number | null> {
    if (hasEnded(this.process)) return this.process.exitCode;
    const exited = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    const [code] = (await exited) as [number | null];
    return code;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

function spawnServer(data: string, args: readonly string[], wrapper: readonly string[]) {
  const given = process.env.HOT_LANE;
  const lane = given === undefined ? [] : ['--hot-lane', given];
  // One edge, unless a test says otherwise: by itself there is one for each core but one.
  const own = ['--port', '0', '--admin-port', '0', '--edges', '1', ...lane];
  const serve = ['serve', '--data', data, ...own, ...args];
  const [command = '', ...rest] = [...wrapper, process.execPath, program, ...serve];
  return spawn(command, rest, { env: cleanEnv(), detached: true });
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** The environment without settings of ours and of npm, so that a test sees what it says. */
function cleanEnv(extra: Record<string, string> = {}): Record<string, string | undefined> {
  const kept = Object.entries(process.env).filter(([name]) => !/^(MILLRACE|npm)_/.test(name));
  return { ...Object.fromEntries(kept), ...extra };
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString('utf8');
}
