import { dirname } from 'node:path';
import { fault, type Disk, type DurableFile, type Lock } from '../../src/base/index.ts';
import { type ReadableFile, sleep } from '../../src/base/index.ts';

/** Chance, as a function from 0 to 1 exclusive. */
export type Random = () => number;

/** A small seeded generator (mulberry32), so that a run can be had again. */
export function seeded(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const sectorBytes = 512;
const lockRetryMs = 20;
const never = new Promise<never>(() => undefined);
let files = 0;

type Change =
  | { readonly kind: 'write'; readonly bytes: Buffer; readonly at: number }
  | { readonly kind: 'cut'; readonly size: number };

/** The process that does something. */
type Owner = object | undefined;

type File = {
  readonly id: number;
  /** What is on the medium. */
  durable: Buffer;
  /** What programs see besides: the page cache, in order. */
  unsynced: readonly Change[];
  /** The last of these have not returned yet. */
  inFlight: readonly { readonly change: Change; readonly owner: Owner }[];
};

export type Fault = 'EIO' | 'ENOSPC';

/** What a disk is part of. */
export type Machine = {
  /** Who does what is done now. */
  readonly owner: () => Owner;
  /** Takes the time of an operation. */
  readonly pass: () => Promise<void>;
};

/** A machine with one process, where an operation takes some turns. */
function bare(random: Random): Machine {
  const pass = async () => {
    const turns = 1 + Math.floor(random() * 3);
    for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
  };
  return { owner: () => undefined, pass };
}

/**
 * A disk in memory that does what real ones may do.
 *  - A write is on the medium when it returns, not before; at a power cut any subset of its
 *    sectors is there, in any order, and what lies between is zeros.
 *  - A name is on the medium after its folder was synced, or by luck.
 *  - After a kill of the process everything is in the page cache, and a write that was under way
 *    is there up to some byte.
 *  - `failNext` makes an operation fail; a write without room leaves a part of itself.
 *  - `lies` is what it must not do: a write returns and is in a cache.
 */
export class SimDisk implements Disk {
  readonly #random: Random;
  readonly #machine: Machine;
  readonly #cachedNames: Map<string, File>;
  readonly #durableNames: Map<string, File>;
  readonly #folders = new Set<string>();
  readonly #locks = new Map<string, Owner>();
  readonly #killed = new Set<Owner>();
  #isDead = false;
  #fault: { left: number; readonly code: Fault } | undefined;
  /** Operations so far that a fault can hit. */
  operations = 0;
  /** The machine stops at this operation: it and those after it never return. */
  stopAt = Number.POSITIVE_INFINITY;
  /** Faults that struck. */
  readonly struck: Record<Fault, number>;
  freeBytes = 1e12;
  /** Nothing more can be written. */
  isFull = false;
  lies = false;

  constructor(
    random: Random,
    machine = bare(random),
    cachedNames: ReadonlyMap<string, File> = new Map(),
    durableNames: ReadonlyMap<string, File> = new Map(),
    struck = { EIO: 0, ENOSPC: 0 },
  ) {
    this.struck = struck;
    this.#random = random;
    this.#machine = machine;
    this.#cachedNames = new Map(cachedNames);
    this.#durableNames = new Map(durableNames);
  }

  /** Whether the fault that was asked for has struck. */
  get hasStruck(): boolean {
    return this.#fault === undefined;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Lets the operation after `skip` others fail. */
  failNext(code: Fault, skip = 0): void {
    this.#fault = { left: skip, code };
  }

  /** No fault is left to strike. */
  heal(): void {
    this.#fault = undefined;
    this.isFull = false;
  }

  /** The state after a crash, as a new disk; nothing on this one ever returns again. */
  crash(kind: 'power' | 'kill'): SimDisk {
    this.#isDead = true;
    const survivors = new Map<File, File>();
    const survivor = (file: File) => {
      const known =
        survivors.get(file) ??
        (kind === 'kill' ? this.#afterKill(file) : this.#afterPowerCut(file));
      survivors.set(file, known);
      return known;
    };
    const all = (names: ReadonlyMap<string, File>) =>
      new Map([...names].map(([name, file]): [string, File] => [name, survivor(file)]));
    if (kind === 'kill') {
      const [cachedNames, durableNames] = [all(this.#cachedNames), all(this.#durableNames)];
      return new SimDisk(this.#random, this.#machine, cachedNames, durableNames, this.struck);
    }
    const names = all(this.#namesAfterPowerCut());
    return new SimDisk(this.#random, this.#machine, names, names, this.struck);
  }

  /** One of the machine's processes dies: nothing of it ever returns again. */
  kill(owner: object): void {
    this.#killed.add(owner);
    for (const file of new Set([...this.#cachedNames.values(), ...this.#durableNames.values()])) {
      const { unsynced, inFlight } = this.#afterKill(file, owner);
      Object.assign(file, { unsynced, inFlight });
    }
    for (const [path, holder] of this.#locks) if (holder === owner) this.#locks.delete(path);
  }

  /** A file's bytes as programs see them, for tests that damage them. */
  peek(path: string): Buffer {
    return cached(this.#file(path));
  }

  /** Replaces a file's bytes, on the medium too. */
  poke(path: string, bytes: Buffer): void {
    Object.assign(this.#file(path), { durable: bytes, unsynced: [], inFlight: [] });
  }

  paths(): readonly string[] {
    return [...this.#cachedNames.keys()].sort();
  }

  /** Each name that was made or removed without a sync of its folder is there or not, by luck. */
  #namesAfterPowerCut(): Map<string, File> {
    const names = new Map(this.#durableNames);
    for (const [name, file] of this.#cachedNames) {
      if (this.#durableNames.get(name) !== file && this.#random() < 0.5) names.set(name, file);
    }
    for (const name of this.#durableNames.keys()) {
      if (!this.#cachedNames.has(name) && this.#random() < 0.5) names.delete(name);
    }
    return names;
  }

  /** Any sectors of what was not synced are there; the rest is as it was. */
  #afterPowerCut(file: File): File {
    let bytes = file.durable;
    for (const change of file.unsynced) {
      if (change.kind === 'cut') {
        if (this.#random() < 0.5) bytes = applied(bytes, change);
        continue;
      }
      for (let from = 0; from < change.bytes.length; from += sectorBytes) {
        if (this.#random() < 0.5) continue;
        const sector = change.bytes.subarray(from, from + sectorBytes);
        bytes = applied(bytes, { kind: 'write', bytes: sector, at: change.at + from });
      }
    }
    return { id: file.id, durable: bytes, unsynced: [], inFlight: [] };
  }

  /** Nothing is lost but the rest of a write that was under way; nothing more is synced. */
  #afterKill(file: File, killed?: object): File {
    const isKilled = (owner: Owner) => killed === undefined || owner === killed;
    const inFlight = file.inFlight.filter(({ owner }) => !isKilled(owner));
    const cut = file.inFlight.filter(({ owner }) => isKilled(owner)).map(({ change }) => change);
    const unsynced = file.unsynced.flatMap((change): Change[] => {
      if (!cut.includes(change)) return [change];
      if (change.kind === 'cut') return this.#random() < 0.5 ? [change] : [];
      const length = Math.floor(this.#random() * (change.bytes.length + 1));
      return [{ ...change, bytes: change.bytes.subarray(0, length) }];
    });
    return { id: file.id, durable: file.durable, unsynced, inFlight };
  }

  #file(path: string): File {
    const file = this.#cachedNames.get(path);
    if (!file) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
    return file;
  }

  /** Time passes, and a fault may strike. */
  async #operate(): Promise<Fault | undefined> {
    const owner = this.#machine.owner();
    this.operations += 1;
    if (this.operations >= this.stopAt) this.#isDead = true;
    const next = this.#fault;
    const strikes = next !== undefined && next.left === 0;
    if (next) next.left -= 1;
    if (strikes) this.#fault = undefined;
    await this.#machine.pass();
    if (this.#isDead || this.#killed.has(owner)) await never;
    if (strikes) this.struck[next.code] += 1;
    return strikes ? next.code : undefined;
  }

  async #mustOperate(what: string): Promise<void> {
    const code = await this.#operate();
    if (code) throw Object.assign(new Error(`${code}: ${what}`), { code });
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#mustOperate('mkdir');
    this.#folders.add(path);
  }

  async create(path: string): Promise<DurableFile> {
    await this.#mustOperate('create');
    if (this.isFull) throw Object.assign(new Error(`ENOSPC: ${path}`), { code: 'ENOSPC' });
    if (this.#cachedNames.has(path)) {
      throw Object.assign(new Error(`EEXIST: ${path}`), { code: 'EEXIST' });
    }
    files += 1;
    const file: File = { id: files, durable: Buffer.alloc(0), unsynced: [], inFlight: [] };
    this.#cachedNames.set(path, file);
    return this.#durableFile(file);
  }

  async openDurable(path: string): Promise<DurableFile> {
    if (!this.#cachedNames.has(path)) return this.create(path);
    await this.#mustOperate('open');
    return this.#durableFile(this.#file(path));
  }

  async openRead(path: string): Promise<ReadableFile> {
    await this.#mustOperate('open');
    const file = this.#file(path);
    return {
      size: async () => {
        await this.#mustOperate('stat');
        return cached(file).length;
      },
      read: async (into, position) => {
        await this.#mustOperate('read');
        const bytes = cached(file);
        const from = Math.min(position, bytes.length);
        return bytes.copy(into, 0, from, Math.min(bytes.length, from + into.length));
      },
      close: () => Promise.resolve(),
    };
  }

  async list(path: string): Promise<readonly string[]> {
    await this.#mustOperate('list');
    const prefix = `${path}/`;
    // After a crash only those folders are there in which something is.
    const all = [...this.#folders, ...this.#cachedNames.keys()];
    const below = all.filter((name) => name.startsWith(prefix));
    return [...new Set(below.map((name) => name.slice(prefix.length).replace(/\/.*/, '')))];
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#mustOperate('rename');
    this.#cachedNames.set(to, this.#file(from));
    this.#cachedNames.delete(from);
  }

  async remove(path: string): Promise<void> {
    await this.#mustOperate('remove');
    this.#file(path);
    this.#cachedNames.delete(path);
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#mustOperate('fsync');
    for (const name of this.#durableNames.keys()) {
      if (dirname(name) === path && !this.#cachedNames.has(name)) this.#durableNames.delete(name);
    }
    for (const [name, file] of this.#cachedNames) {
      if (dirname(name) === path) this.#durableNames.set(name, file);
    }
  }

  async syncFile(path: string): Promise<void> {
    await this.#mustOperate('fsync');
    const file = this.#file(path);
    Object.assign(file, { durable: cached(file), unsynced: [], inFlight: [] });
  }

  async version(path: string): Promise<string | undefined> {
    await this.#mustOperate('stat');
    const file = this.#cachedNames.get(path);
    return file && `${file.id} ${cached(file).length}`;
  }

  async lock(path: string, holder: () => string, waitMs: number): Promise<Lock> {
    const owner = this.#machine.owner();
    for (let waitedMs = 0; this.#locks.has(path); waitedMs += lockRetryMs) {
      if (waitedMs >= waitMs) throw fault('LOCKED', { seen: path, holder: holder() });
      await sleep(lockRetryMs);
    }
    this.#locks.set(path, owner);
    return { release: () => void this.#locks.delete(path) };
  }

  room(): Promise<{ freeBytes: number; diskBytes: number }> {
    return Promise.resolve({ freeBytes: this.freeBytes, diskBytes: 1e12 });
  }

  #durableFile(file: File): DurableFile {
    return {
      write: async (bytes, position) => {
        const change = { kind: 'write', bytes: Buffer.from(bytes), at: position } as const;
        await this.#begin(file, change);
        const code = (await this.#operate()) ?? (this.isFull ? 'ENOSPC' : undefined);
        if (code) {
          // A part of it stays.
          const part = change.bytes.subarray(0, Math.floor(this.#random() * (bytes.length + 1)));
          end(file, change, { ...change, bytes: part });
          throw Object.assign(new Error(`${code}: write`), { code });
        }
        if (this.lies) file.inFlight = file.inFlight.filter((other) => other.change !== change);
        else end(file, change, change);
      },
      truncate: async (size) => {
        const change = { kind: 'cut', size } as const;
        await this.#begin(file, change);
        await this.#mustOperate('truncate');
        // Its sync takes along what an earlier process left in the page cache.
        Object.assign(file, { durable: cached(file), unsynced: [], inFlight: [] });
      },
      close: () => Promise.resolve(),
    };
  }

  async #begin(file: File, change: Change): Promise<void> {
    const owner = this.#machine.owner();
    if (this.#killed.has(owner)) await never;
    file.unsynced = [...file.unsynced, change];
    file.inFlight = [...file.inFlight, { change, owner }];
  }
}

/** The change has returned: what came of it is on the medium. */
function end(file: File, change: Change, outcome: Change): void {
  file.durable = applied(file.durable, outcome);
  file.unsynced = file.unsynced.filter((other) => other !== change);
  file.inFlight = file.inFlight.filter((other) => other.change !== change);
}

function cached(file: File): Buffer {
  return file.unsynced.reduce(applied, file.durable);
}

function applied(to: Buffer, change: Change): Buffer {
  const isCut = change.kind === 'cut';
  const result = Buffer.alloc(
    isCut ? change.size : Math.max(to.length, change.at + change.bytes.length),
  );
  to.copy(result);
  if (!isCut) change.bytes.copy(result, change.at);
  return result;
}
