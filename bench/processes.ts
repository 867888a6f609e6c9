import { readdir, readFile, writeFile } from 'node:fs/promises';

/** Of Linux: what /proc counts in. */
const ticksPerSecond = 100;

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

/** What a process and those below it have had of the processors, from Linux's /proc. */
export async function cpuMsOf(root: number): Promise<number> {
  const names = await readdir('/proc').catch(() => []);
  const pids = names.map(Number).filter((pid) => pid >= root);
  let total = 0;
  const below = new Set<number>();
  for (const pid of pids.sort((a, b) => a - b)) {
    const { parent, ms } = statOf(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''));
    if (pid !== root && !below.has(parent)) continue;
    below.add(pid);
    total += ms;
  }
  return total;
}

/** What programs, all together, have had of some processors. */
export async function cpuMsOfCores(cores: readonly number[]): Promise<number> {
  const stat = await readFile('/proc/stat', 'utf8').catch(() => '');
  let ticks = 0;
  for (const core of cores) {
    const fields = new RegExp(`^cpu${core} (.*)$`, 'm').exec(stat)?.[1]?.split(' ').map(Number);
    const [user = NaN, nice = NaN, system = NaN] = fields ?? [];
    ticks += user + nice + system;
  }
  return (ticks / ticksPerSecond) * 1_000;
}

/** What the first thread of a process, and all others, have had of the processors. */
export async function threadsMsOf(
  pid: number,
): Promise<{ readonly main: number; readonly others: number }> {
  const read = (path: string) => readFile(path, 'utf8').catch(() => '');
  const main = statOf(await read(`/proc/${pid}/task/${pid}/stat`)).ms;
  const all = statOf(await read(`/proc/${pid}/stat`)).ms;
  return { main, others: all - main };
}

/** Behind its name, which may hold anything. */
function statOf(stat: string): { readonly parent: number; readonly ms: number } {
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const ticks = (fields[11] ?? 0) + (fields[12] ?? 0);
  return { parent: fields[1] ?? 0, ms: (ticks / ticksPerSecond) * 1_000 };
}
