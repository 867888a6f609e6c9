import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/* Programs that are there or not, and servers among them. */

export const host = '127.0.0.1';
const [startMsMax, stopMsMax] = [10_000, 10_000];

/** What a program says its version is; undefined if there is no such program. */
export async function versionOf(
  program: string,
  args: readonly string[],
  pattern: RegExp,
): Promise<string | undefined> {
  // Some say it with a failure.
  const said = await promisify(execFile)(program, args).catch(
    (error: { stdout?: string; stderr?: string }) => error,
  );
  return pattern.exec(`${said.stdout}${said.stderr}`)?.[1];
}

export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || !address) throw new Error('there is no free port');
  return address.port;
}

/** Words before a command that keep it on these processors. */
export function pinned(cores: readonly number[]): readonly string[] {
  return ['taskset', '-c', cores.join(',')];
}

/** Starts a server and waits until it takes connections. */
export async function startProgram(
  command: readonly string[],
  port: number,
  env: Record<string, string> = {},
): Promise<{ readonly pid: number; readonly stop: () => Promise<void> }> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { env: { ...process.env, ...env } });
  const said: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      if (said.length < 100) said.push(chunk);
    });
  }
  const failed = once(child, 'error').then(([error]) => {
    throw error;
  });
  failed.catch(() => undefined);
  try {
    await Promise.race([listens(child, port), failed]);
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`it did not start: ${lastWords(said)}`, {
      cause: error,
    });
  }
  return { pid: child.pid ?? 0, stop: () => stop(child) };
}

function lastWords(said: readonly Buffer[]): string {
  return Buffer.concat(said).toString().replaceAll(/\s+/g, ' ').trim().slice(-200);
}

async function listens(child: ChildProcess, port: number): Promise<void> {
  for (const startedAtMs = performance.now(); ; await sleep(20)) {
    if (await accepts(port)) return;
    const isLate = performance.now() - startedAtMs > startMsMax;
    if (isLate || child.exitCode !== null) throw new Error('nobody listens');
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), stopMsMax);
  await exited;
  clearTimeout(late);
}
