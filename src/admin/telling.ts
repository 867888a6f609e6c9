import { Readable } from 'node:stream';
import { type Clock, messageOf, MillraceError, type Task } from '../base/index.ts';

const everyMs = 100;

/**
 * Runs work and tells how far it is, as lines of NDJSON: `{"progress":{"done":…,"total":…,
 * "unit":…}}`, a few a second at most, and then `{"result":…}` or what `errorBody` gives.
 */
export function telling(
  work: (task: Task) => Promise<unknown>,
  signal: AbortSignal,
  clock: Clock,
): Readable {
  const lines = new Readable({ read: () => undefined });
  const say = (line: object) => lines.push(`${JSON.stringify(line)}\n`);
  let saidAtMs = Number.NEGATIVE_INFINITY;
  const progress: Task['progress'] = (report) => {
    const nowMs = clock.nowMs();
    if (Math.abs(nowMs - saidAtMs) < everyMs) return;
    saidAtMs = nowMs;
    say({ progress: report });
  };
  void work({ progress, signal })
    .then(
      (result) => say({ result: result ?? null }),
      (error: unknown) => say(errorBody(error)),
    )
    .finally(() => lines.push(null));
  return lines;
}

/** An error as clients get it. */
export function errorBody(error: unknown): object {
  if (!(error instanceof MillraceError)) return { error: messageOf(error) };
  const { code, message, hint, retryable } = error;
  return { error: message, code, hint, retryable };
}
