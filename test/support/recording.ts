import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';

/*
 * What a process and its children did to the files below a folder, read from a trace of their
 * system calls.
 *
 * A call that is not known here and names a file of the folder is an error. What is not traced
 * (mmap, io_uring) shows in that a replay of everything is not the folder.
 */

/** Between two moments, each a line of the trace. A call that never returned ends never. */
type Span = { readonly begin: number; readonly end: number };

export type Inode = { readonly changes: Change[]; readonly syncs: Span[]; readonly born: string };

/** A change of a file's bytes. */
export type Change = Span & { readonly isSync: boolean } & (
    | { readonly kind: 'write'; readonly at: number; readonly bytes: Buffer }
    | { readonly kind: 'resize'; readonly size: number; readonly shrinks: boolean }
  );

/** A change of names: each path has this inode from now on, or nothing. */
export type Naming = Span & { readonly names: readonly (readonly [string, Entry | undefined])[] };
export type Entry = Inode | 'folder';

export type Recording = {
  readonly moments: number;
  readonly namings: readonly Naming[];
  /** Syncs of folders, by path. */
  readonly folderSyncs: ReadonlyMap<string, readonly Span[]>;
  /** When a sync of anything was done. */
  readonly synced: readonly number[];
  /** When what was said first: a receipt, as its answer began to be written; see `markOf`. */
  readonly said: ReadonlyMap<string, number>;
};

const traced = `
  open openat openat2 creat lseek write writev pwrite64 pwritev pwritev2 truncate ftruncate
  fallocate rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir link linkat symlink
  symlinkat fsync fdatasync sync_file_range syncfs copy_file_range sendfile splice`;

/** A file that is not there: whoever is recorded opens it to say that something is so. */
export function markOf(what: string): string {
  return `/marks/${what}`;
}

export function canTrace(): boolean {
  try {
    execFileSync('strace', ['--seccomp-bpf', '-f', '-o', '/dev/null', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Arguments of strace with which it writes what `record` reads. */
export function tracing(traceFile: string): readonly string[] {
  // Not each machine has each of them.
  const calls = `trace=${traced.trim().replaceAll(/\s+|^/g, ',?').slice(1)}`;
  const whole = ['-y', '-xx', '-s', String(2 ** 24)];
  return ['-f', '--seccomp-bpf', ...whole, '-e', calls, '-o', traceFile];
}

/** @param folder as the system names it; it was empty. */
export async function record(traceFile: string, folder: string): Promise<Recording> {
  const recorder = new Recorder(folder);
  const lines = (await readFile(traceFile, 'latin1')).split('\n');
  for (const [moment, line] of lines.entries()) recorder.read(line, moment);
  return recorder.done(lines.length);
}

type Call = { readonly name: string; readonly args: string; readonly begin: number };
type Done = Call & { readonly end: number; readonly result: string };

class Recorder {
  readonly #folder: string;
  readonly #names = new Map<string, Entry>();
  readonly #begun = new Map<string, Call>();
  /** By file and descriptor. */
  readonly #opened = new Map<string, { at: number; flags: string }>();
  readonly #namings: Naming[] = [];
  readonly #folderSyncs = new Map<string, Span[]>();
  readonly #synced: number[] = [];
  readonly #said = new Map<string, number>();

  constructor(folder: string) {
    this.#folder = folder;
    this.#names.set('', 'folder');
  }

  read(line: string, moment: number): void {
    const [, thread = '', text = ''] = /^(\d+)\s+(.*)$/s.exec(line) ?? [];
    const resumed = /^<\.\.\. (\w+) resumed>(.*)$/s.exec(text);
    const [, name = '', rest = ''] = resumed ?? /^(\w+)\((.*)$/s.exec(text) ?? [];
    if (name === '') return;
    const before = resumed ? this.#begun.get(thread) : undefined;
    this.#begun.delete(thread);
    const unfinished = rest.indexOf(' <unfinished ...>');
    const args = (before?.args ?? '') + (unfinished < 0 ? rest : rest.slice(0, unfinished));
    const call = { name, args, begin: before?.begin ?? moment };
    if (!resumed) this.#say(call);
    if (unfinished >= 0) this.#begun.set(thread, call);
    else this.#done(call, moment);
  }

  done(moments: number): Recording {
    // Whoever was killed in a call: it may have done something.
    for (const call of this.#begun.values()) {
      if (/^p?write/.test(call.name)) {
        const length = bytesIn(call.args)[0]?.length ?? 0;
        this.#apply({ ...call, end: Number.POSITIVE_INFINITY, result: String(length) });
      }
    }
    const folderSyncs = this.#folderSyncs;
    return { moments, namings: this.#namings, folderSyncs, synced: this.#synced, said: this.#said };
  }

  #say({ name, args, begin }: Call): void {
    const [, mark] =
      name === 'openat' ? (/^\/marks\/(.+)$/.exec(pathsIn(args)[0] ?? '') ?? []) : [];
    if (mark !== undefined) this.#said.set(mark, begin);
    if (!/^writev?$/.test(name) || this.#pathOf(args) !== undefined) return;
    const text = Buffer.concat(bytesIn(args)).toString('latin1');
    if (!text.startsWith('HTTP/1.1 200 ')) return;
    const [, receipt] = /^X-Millrace-Receipt: (\S+)/im.exec(text) ?? [];
    if (receipt !== undefined) this.#said.set(receipt, begin);
  }

  #done(call: Call, end: number): void {
    const [, args = call.args, result = '?'] = /^(.*)\)\s+= (.*)$/s.exec(call.args) ?? [];
    if (result.startsWith('-1') || result.startsWith('?')) return;
    this.#apply({ ...call, args, end, result });
  }

  #apply(call: Done): void {
    const { name, args, result } = call;
    const span = { begin: call.begin, end: call.end };
    if (/^open|^creat/.test(name)) return this.#open(call, span);
    if (/^(rename|link|unlink|mkdir|rmdir|symlink)/.test(name)) return this.#rename(call, span);
    const path = this.#pathOf(args);
    if (path === undefined) return;
    const entry = this.#names.get(path);
    // A file that has no name any more.
    if (entry === undefined) return;
    if (/^f(data)?sync$/.test(name)) {
      this.#synced.push(call.end);
      if (entry === 'folder') pushTo(this.#folderSyncs, path, span);
      else entry.syncs.push(span);
      return;
    }
    if (entry === 'folder') throw new Error(`${name} of a folder, ${path}`);
    const file = this.#opened.get(`${path} ${descriptorOf(args)}`);
    if (!file) throw new Error(`${name} of ${path}, which nobody opened`);
    const isSync = /O_D?SYNC/.test(file.flags);
    if (isSync && /write/.test(name)) this.#synced.push(call.end);
    if (name === 'lseek') file.at = Number.parseInt(result, 10);
    else if (name === 'ftruncate') {
      const size = Number(/(\d+)$/.exec(args)?.[1]);
      entry.changes.push({ ...span, kind: 'resize', size, shrinks: true, isSync: false });
    } else if (name === 'fallocate') {
      const [mode, at = 0, length = 0] = args.split(', ').slice(1).map(Number);
      if (mode !== 0) throw new Error(`fallocate ${args}`);
      const size = at + length;
      entry.changes.push({ ...span, kind: 'resize', size, shrinks: false, isSync: false });
    } else if (/^p?writev?(64)?$/.test(name)) {
      const bytes = Buffer.concat(bytesIn(args)).subarray(0, Number(result));
      const isPlaced = name.startsWith('p');
      const at = isPlaced ? Number(/(\d+)$/.exec(args)?.[1]) : this.#position(file, entry);
      entry.changes.push({ ...span, kind: 'write', at, bytes, isSync });
      if (!isPlaced) file.at = at + bytes.length;
    } else throw new Error(`${name} of ${path} is not known here`);
  }

  #position(file: { at: number; flags: string }, inode: Inode): number {
    return file.flags.includes('O_APPEND') ? sizeOf(inode.changes) : file.at;
  }

  #open({ args, result, name }: Done, span: Span): void {
    const path = this.#inside(textIn(args)[name === 'openat' ? 1 : 0] ?? textIn(args)[0]);
    if (path === undefined) return;
    if (name !== 'openat') throw new Error(`${name} of ${path}`);
    const flags = /O_\w+(\|O_\w+)*/.exec(args.slice(args.lastIndexOf('", ')))?.[0] ?? '';
    let entry = this.#names.get(path);
    if (entry === undefined && flags.includes('O_CREAT')) {
      entry = { changes: [], syncs: [], born: path };
      this.#name(span, [[path, entry]]);
    }
    if (entry !== undefined && entry !== 'folder' && flags.includes('O_TRUNC')) {
      entry.changes.push({ ...span, kind: 'resize', size: 0, shrinks: true, isSync: false });
    }
    this.#opened.set(`${path} ${Number.parseInt(result, 10)}`, { at: 0, flags });
  }

  #rename({ name, args }: Done, span: Span): void {
    const [from, to] = pathsIn(args).map((path) => this.#inside(path));
    if (from === undefined && to === undefined) return;
    const entry = from === undefined ? undefined : this.#names.get(from);
    if (/^mkdir$/.test(name)) this.#name(span, [[from ?? '', 'folder']]);
    else if (/^(unlink|rmdir)$/.test(name)) this.#name(span, [[from ?? '', undefined]]);
    else if (entry && entry !== 'folder' && to !== undefined && name === 'link') {
      this.#name(span, [[to, entry]]);
    } else if (entry && entry !== 'folder' && to !== undefined && name === 'rename') {
      this.#name(span, [
        [to, entry],
        [from ?? '', undefined],
      ]);
      this.#moveOpened(from ?? '', to);
    } else throw new Error(`${name} of ${from} and ${to} is not known here`);
  }

  #moveOpened(from: string, to: string): void {
    for (const [key, file] of this.#opened) {
      const [path, descriptor] = key.split(' ');
      if (path === from) this.#opened.set(`${to} ${descriptor}`, file);
    }
  }

  #name(span: Span, names: Naming['names']): void {
    this.#namings.push({ ...span, names });
    for (const [path, entry] of names) {
      if (entry) this.#names.set(path, entry);
      else this.#names.delete(path);
    }
  }

  /** The file of the folder that a call's first descriptor is. */
  #pathOf(args: string): string | undefined {
    const [, hex] = /^[^"]*?\d+<((?:\\x..)+)>/.exec(args) ?? [];
    return hex === undefined ? undefined : this.#inside(unhex(hex).toString());
  }

  #inside(path: string | undefined): string | undefined {
    if (path === this.#folder) return '';
    return path?.startsWith(`${this.#folder}/`) ? path.slice(this.#folder.length + 1) : undefined;
  }
}

export function sizeOf(changes: readonly Change[]): number {
  let size = 0;
  for (const change of changes) {
    if (change.kind === 'write') size = Math.max(size, change.at + change.bytes.length);
    else size = change.shrinks ? change.size : Math.max(size, change.size);
  }
  return size;
}

export function parentOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
}

function descriptorOf(args: string): number {
  return Number(/^(\d+)</.exec(args)?.[1]);
}

function pathsIn(args: string): readonly string[] {
  return bytesIn(args).map(String);
}

function textIn(args: string): readonly string[] {
  // The folder that a relative path counts from comes first.
  return ['', ...pathsIn(args)];
}

/** What stands in quotes. */
function bytesIn(args: string): readonly Buffer[] {
  return (args.match(/"[^"]*"/g) ?? []).map((quoted) => unhex(quoted.slice(1, -1)));
}

function unhex(text: string): Buffer {
  return Buffer.from(text.replaceAll('\\x', ''), 'hex');
}

function pushTo<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
