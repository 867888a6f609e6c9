import { readdir, readFile, writeFile } from 'node:fs/promises';

export type ServerProcess = {
  readonly name: string;
  readonly pid: number;
  readonly peakBytes: number;
};

/**
 * The processes of a server with the most memory each had resident so far, from Linux's /proc;
 * none on another system.
 */
export async function serverProcesses(supervisor: number): Promise<readonly ServerProcess[]> {
  const names = await readdir('/proc').catch(() => []);
  const found = [];
  for (const pid of names.map(Number).filter((number) => number > 0)) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    const field = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
    const peakBytes = field('VmHWM') * 1024;
    if (pid === supervisor || field('PPid') === supervisor) found.push({ pid, peakBytes });
  }
  found.sort((a, b) => a.pid - b.pid);
  // The order in which a supervisor starts its processes: edges, then the store.
  const nameOf = (index: number) =>
    index === 0 ? 'supervisor' : index === found.length - 1 ? 'store' : `edge-${index - 1}`;
  return found.map((process, index) => ({ name: nameOf(index), ...process }));
}

/** The most memory that a process had resident since `forgetPeak`; NaN where there is no /proc. */
export async function peakBytesOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1]) * 1024;
}

/** From now on the peak is counted anew. */
export async function forgetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5').catch(() => undefined);
}

/** What a process has resident now; NaN where there is no /proc. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
}
