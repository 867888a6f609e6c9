import { setTimeout as sleep } from 'node:timers/promises';
import type { TestServer } from '../test/support/server.ts';
import { residentBytes } from './processes.ts';

const lagEveryMs = 250;
const memoryEveryMs = 1_000;

/** The lag that the server shows, ms, until the signal. */
export function sampleLag(server: TestServer, signal: AbortSignal): Promise<Float64Array> {
  return sample(lagEveryMs, signal, async () => {
    const response = await fetch(`${server.admin}/status`);
    const status = (await response.json()) as { waiting: { lagMs: number } };
    return status.waiting.lagMs;
  });
}

/** The memory that a process has resident, bytes, until the signal. */
export function sampleMemory(pid: number, signal: AbortSignal): Promise<Float64Array> {
  return sample(memoryEveryMs, signal, () => residentBytes(pid));
}

async function sample(
  everyMs: number,
  signal: AbortSignal,
  take: () => Promise<number>,
): Promise<Float64Array> {
  const samples: number[] = [];
  while (!signal.aborted) {
    samples.push(await take());
    await sleep(everyMs, undefined, { signal }).catch(() => undefined);
  }
  return Float64Array.from(samples);
}
