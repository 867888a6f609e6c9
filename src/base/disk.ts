import { constants, write as writeCallback } from 'node:fs';
import { chown, type FileHandle, mkdir, open, readdir } from 'node:fs/promises';
import { rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { DirectoryLock } from './lock.ts';

/** A file whose writes are on disk when they return. */
export interface DurableFile {
  /**
   * Writes all of `bytes` at `position` and resolves when they are on disk.
   * On an error some of them may be there, in any order.
   */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Cuts the file to `size` bytes; on disk when it resolves. */
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export interface ReadableFile {
  /** Length now, bytes. */
  size(): Promise<number>;
  /** Fills `into` from `position`; fewer bytes only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

/** A lock that is held. */
export interface Lock {
  release(): void;
}

/** The disk, as a seam: what the log needs of it, with durability said at each call. */
export interface Disk {
  /** Makes a folder and its parents; they are on disk when it resolves. */
  makeDirectory(path: string): Promise<void>;
  /** Creates a file that must not exist yet. Its name is durable after `syncDirectory`. */
  create(path: string): Promise<DurableFile>;
  /** Opens a file for durable writes in place, making it if need be. */
  openDurable(path: string): Promise<DurableFile>;
  openRead(path: string): Promise<ReadableFile>;
  /** Names in a folder; throws if it cannot be read. */
  list(path: string): Promise<readonly string[]>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes the names in a folder durable. */
  syncDirectory(path: string): Promise<void>;
  /** Makes what another writer has put into a file durable. */
  syncFile(path: string): Promise<void>;
  /** Other each time that the file was replaced; undefined if there is none. */
  version(path: string): Promise<string | undefined>;
  /**
   * Takes the lock of a file, which is free again when its holder dies.
   * @throws LOCKED with `holder` as its text, when somebody else holds it for `waitMs`
   */
  lock(path: string, holder: () => string, waitMs: number): Promise<Lock>;
  /** Free and whole bytes of the disk that holds `path`. */
  room(path: string): Promise<{ readonly freeBytes: number; readonly diskBytes: number }>;
}

class NodeFile implements DurableFile, ReadableFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** The callback form: one promise and one thread-pool hop for a group. */
  write(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((written, failed) => {
      const writeFrom = (at: number) => {
        const left = bytes.length - at;
        writeCallback(this.#handle.fd, bytes, at, left, position + at, (error, count) => {
          if (error) failed(error);
          else if (count < left) writeFrom(at + count);
          else written();
        });
      };
      writeFrom(0);
    });
  }

  async truncate(size: number): Promise<void> {
    await this.#handle.truncate(size);
    await this.#handle.datasync();
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const length = into.length - done;
      const { bytesRead } = await this.#handle.read(into, done, length, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const durable = constants.O_RDWR | constants.O_CREAT | (constants.O_DSYNC ?? constants.O_SYNC);

export const nodeDisk: Disk = {
  async makeDirectory(path) {
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    const top = dirname(resolve(first ?? path));
    // Its own name is synced even if it was there: whoever made it may have been killed before.
    for (let at = resolve(path); at !== top; at = dirname(at)) {
      await this.syncDirectory(dirname(at));
    }
  },
  async create(path) {
    return new NodeFile(await open(path, durable | constants.O_EXCL, 0o600));
  },
  async openDurable(path) {
    return new NodeFile(await open(path, durable, 0o600));
  },
  async openRead(path) {
    return new NodeFile(await open(path, 'r'));
  },
  list: (path) => readdir(path),
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path),
  syncDirectory: (path) => sync(path),
  syncFile: (path) => sync(path),
  async version(path) {
    try {
      const { mtimeNs, ino, size } = await stat(path, { bigint: true });
      return `${mtimeNs}-${ino}-${size}`;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  },
  lock: (path, holder, waitMs) => DirectoryLock.take(path, holder, waitMs),
  async room(path) {
    const { bavail, blocks, bsize } = await statfs(path);
    return { freeBytes: bavail * bsize, diskBytes: blocks * bsize };
  },
};

/** Whether there was no room, or no file left to open: the errors after which the log goes on. */
export function isNoRoom(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code !== undefined && ['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE'].includes(code);
}

/** Whether there is no such file or folder. */
export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === 'ENOENT';
}

/** All bytes of a file. */
export async function readWhole(disk: Disk, path: string): Promise<Buffer> {
  const file = await disk.openRead(path);
  try {
    const bytes = Buffer.alloc(await file.size());
    const count = await file.read(bytes, 0);
    // A segment may be cut to its length meanwhile.
    const isWhole = count === bytes.length || count === (await file.size());
    if (!isWhole) throw new Error(`short read of ${path}`);
    return bytes.subarray(0, count);
  } finally {
    await file.close();
  }
}

/** Overwrites some bytes of a file in place, durably. */
export async function writeBytes(path: string, bytes: Uint8Array, at: number): Promise<void> {
  const file = await nodeDisk.openDurable(path);
  try {
    await file.write(bytes, at);
  } finally {
    await file.close();
  }
}

/** Replaces a file as a whole: readers see the old or the new one, also after a crash. */
export async function writeFileAtomic(path: string, content: string | Buffer): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  // Made anew: what stands there may be somebody's link to another file.
  await rm(temporary, { force: true });
  const file = await nodeDisk.create(temporary);
  try {
    await file.write(typeof content === 'string' ? Buffer.from(content) : content, 0);
  } finally {
    await file.close();
  }
  await keepOwner(path, temporary);
  await nodeDisk.rename(temporary, path);
  await nodeDisk.syncDirectory(join(path, '..'));
}

/** What root replaces, or puts into another user's folder, must stay readable for that user. */
async function keepOwner(path: string, temporary: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = await stat(path).catch(() => stat(join(path, '..')));
  if (uid !== 0) await chown(temporary, uid, gid);
}
