import { execFile } from 'node:child_process';
import { open, rm, statfs } from 'node:fs/promises';
import { availableParallelism, cpus, release } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { percentilesOf } from './percentiles.ts';

const tmpfsMagic = 0x01021994;

/** What the figures depend on. */
export async function machineFacts(data: string) {
  const isMemory = (await statfs(data)).type === tmpfsMagic;
  return {
    cpus: availableParallelism(),
    cpuModel: cpus()[0]?.model ?? 'unknown',
    node: process.version,
    system: `${process.platform} ${release()} ${process.arch}`,
    disk: isMemory ? 'memory: syncing costs nothing here' : 'a disk',
    syncMs: await medianSyncMs(data),
  };
}

export function machineLines(machine: Awaited<ReturnType<typeof machineFacts>>): string {
  return `${machine.cpus} × ${machine.cpuModel}, node ${machine.node}, ${machine.system}
${machine.disk}, a synced write of 4 KiB takes ${machine.syncMs.toFixed(2)} ms`;
}

/** How long the disk takes for a small synced write. */
async function medianSyncMs(data: string): Promise<number> {
  const path = join(data, 'sync-probe');
  const file = await open(path, 'w');
  const samplesMs = new Float64Array(51);
  for (let index = 0; index < samplesMs.length; index += 1) {
    const startedAtMs = performance.now();
    await file.write(Buffer.alloc(4096, index), 0, 4096, index * 4096);
    await file.datasync();
    samplesMs[index] = performance.now() - startedAtMs;
  }
  await file.close();
  await rm(path);
  return percentilesOf(samplesMs).p50;
}

/**
 * Runs work on the first so many processors only, and with it all processes that it starts.
 * @returns with it whether that could be done: it needs Linux's `taskset`
 */
export async function onCores<T>(
  count: number,
  work: () => Promise<T>,
): Promise<readonly [T, boolean]> {
  const before = await cores();
  const isPinned = await pin(before.slice(0, count));
  try {
    return [await work(), isPinned];
  } finally {
    if (isPinned) await pin(before);
  }
}

/** The processors that this process may use; none where that is not known. */
export async function cores(): Promise<readonly number[]> {
  const asked = promisify(execFile)('taskset', ['-c', '-p', String(process.pid)]);
  const said = await asked.catch(() => undefined);
  const list = said && /: ([\d,-]+)\s*$/.exec(said.stdout)?.[1];
  return (list?.split(',') ?? []).flatMap((range) => {
    const [from = 0, to = from] = range.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}

/** Keeps this process, with what it starts from now on, on these processors. */
export async function pin(to: readonly number[]): Promise<boolean> {
  const args = ['-a', '-c', '-p', to.join(','), String(process.pid)];
  return promisify(execFile)('taskset', args).then(
    () => true,
    () => false,
  );
}
