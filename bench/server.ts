import { mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { TestServer } from '../test/support/server.ts';

/** An empty folder: the one that was asked for, or a new one among the system's temporary files. */
export async function freshDirectory(prefix: string, asked: string | undefined): Promise<string> {
  if (asked === undefined) return mkdtemp(join(tmpdir(), prefix));
  const path = resolve(asked);
  await mkdir(path, { recursive: true });
  if ((await readdir(path)).length > 0) throw new Error(`${path} is not empty: choose another`);
  return path;
}

/** Runs a real server for as long as it is used; Ctrl-C stops the server too. */
export function withServer<T>(
  data: string,
  args: readonly string[],
  use: (server: TestServer) => Promise<T>,
): Promise<T> {
  return whileUsed(
    () => TestServer.start(data, args),
    use,
    (server) => server.stop(),
  );
}

export class Interrupted extends Error {}

/** Starts something, uses it and stops it, also at Ctrl-C. @throws Interrupted */
export async function whileUsed<S, T>(
  start: () => Promise<S>,
  use: (started: S) => Promise<T>,
  stop: (started: S) => Promise<unknown>,
): Promise<T> {
  const interrupted = Promise.withResolvers<never>();
  interrupted.promise.catch(() => undefined);
  const onSignal = () => interrupted.reject(new Interrupted('interrupted'));
  // Not once: the same signal can come twice, to the process and to its group.
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    const started = await start();
    try {
      return await Promise.race([use(started), interrupted.promise]);
    } finally {
      await stop(started);
    }
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

/** Says what happens, on a terminal. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** Runs a script; what it throws becomes one line, and the exit code 1. */
export async function runScript(main: () => Promise<void>): Promise<never> {
  try {
    await main();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
  process.exit();
}
