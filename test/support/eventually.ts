import { setTimeout as sleep } from 'node:timers/promises';

/** Asks again and again until the answer is there; fails after `timeoutMs`. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  timeoutMs = 30_000,
): Promise<T> {
  for (const startedAtMs = Date.now(); Date.now() - startedAtMs < timeoutMs; ) {
    // While a process starts again, asking it fails.
    const answer = await ask().catch(() => undefined);
    if (answer !== undefined && answer !== false) return answer;
    await sleep(50);
  }
  throw new Error(`not within ${timeoutMs} ms: ${what}`);
}
