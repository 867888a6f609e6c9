import { readFile, realpath, stat, statfs } from 'node:fs/promises';
import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os';
import { join, sep } from 'node:path';
import { version } from '../config.ts';

/** What a report must name, so that somebody can tell what it is of. */
export function machineFacts() {
  return {
    millrace: version(),
    node: process.version,
    system: `${platform()} ${release()} ${arch()}`,
    processors: availableParallelism(),
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    memoryBytes: totalmem(),
  };
}

/** The disk below a folder, as far as the system tells. */
export type DiskFacts = {
  readonly directory: string;
  readonly freeBytes: number;
  readonly sizeBytes: number;
  /** `ext4`, `tmpfs` …; `unknown` where the system has no /proc. */
  readonly fileSystem: string;
  readonly device: string;
  readonly mountOptions: readonly string[];
  /** What the device says of itself; empty where it is not one of this machine. */
  readonly model: string;
  /** Undefined where nobody says, or a virtual machine makes it up. */
  readonly isRotating: boolean | undefined;
  /** `write back`: it has a cache that it must flush. */
  readonly writeCache: string | undefined;
};

export async function diskFacts(directory: string): Promise<DiskFacts> {
  const path = await realpath(directory);
  const { bavail, blocks, bsize } = await statfs(path);
  const mount = await mountOf(path);
  const block = await blockDevice(path);
  const room = { directory: path, freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
  return { ...room, ...mount, ...block };
}

async function mountOf(path: string) {
  const unknown = { fileSystem: 'unknown', device: '', mountOptions: [] as readonly string[] };
  const text = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  let longest = -1;
  let found = unknown;
  for (const line of text.split('\n')) {
    const [own = '', outer = ''] = line.split(' - ');
    const [, , , , escaped = '', options = ''] = own.split(' ');
    const point = escaped.replace(/\\(\d{3})/g, (_, octal: string) => {
      return String.fromCharCode(parseInt(octal, 8));
    });
    const isAbove = point === sep || path === point || path.startsWith(point + sep);
    // Of two mounts on one point the later one is seen.
    if (escaped === '' || !isAbove || point.length < longest) continue;
    const [fileSystem = 'unknown', device = '', more = ''] = outer.split(' ');
    const mountOptions = [...new Set([...options.split(','), ...more.split(',')])].filter(Boolean);
    longest = point.length;
    found = { fileSystem, device, mountOptions };
  }
  return found;
}

async function blockDevice(path: string) {
  const { dev } = await stat(path);
  // As the kernel packs the two numbers of a device.
  const [major, minor] = [(dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xfff00)];
  const folder = await realpath(`/sys/dev/block/${major}:${minor}`).catch(() => '');
  const said = async (name: string) => {
    if (folder === '') return undefined;
    const own = await readFile(join(folder, name), 'utf8').catch(() => undefined);
    // A partition stands below its disk.
    const text = own ?? (await readFile(join(folder, '..', name), 'utf8').catch(() => undefined));
    return text?.trim();
  };
  const model = (await said('device/model')) ?? '';
  const rotational = await said('queue/rotational');
  const isReal = model !== '' && !/qemu|virtual|vbox|msft|cloud|persistent/i.test(model);
  const isRotating = isReal && rotational !== undefined ? rotational === '1' : undefined;
  return { model, isRotating, writeCache: await said('queue/write_cache') };
}
