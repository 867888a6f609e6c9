import { createHash } from 'node:crypto';
import { link, open } from 'node:fs/promises';
import { crcsOf, damaged, damageIn, fault, limits, nodeDisk } from '../base/index.ts';
import type { ReadableFile, Task } from '../base/index.ts';

const pieceBytes = 4 * limits.pieceBytes;
/** As much of two files as tells them apart: a segment of the log begins with random numbers. */
const headBytes = 4096;

/** How much of the work is done; ends it when nobody waits any more. */
export class Count {
  readonly #task: Task;
  #done = 0;
  #total: number | undefined;

  constructor(task: Task) {
    this.#task = task;
  }

  /** So many bytes are to come. */
  expect(bytes: number): void {
    this.#total = this.#done + bytes;
  }

  add(bytes: number): void {
    this.#task.signal.throwIfAborted();
    this.#done += bytes;
    this.#task.progress({ done: this.#done, total: this.#total, unit: 'bytes' });
  }
}

/** What is known of a file's bytes before they are read. */
export type Known = { readonly path: string; readonly crcs: readonly number[] };

/**
 * Reads the first bytes of a file, piece by piece.
 * @throws BACKUP_FAILED when it is shorter, DATA_DAMAGED when it is not what is known of it
 */
async function* piecesOf(
  file: ReadableFile,
  bytes: number,
  name: string,
  known: Known | undefined,
): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, bytes));
  for (let at = 0; at < bytes; ) {
    const piece = buffer.subarray(0, Math.min(pieceBytes, bytes - at));
    const count = await file.read(piece, at);
    if (count < piece.length) {
      throw fault('BACKUP_FAILED', { seen: `${name} ends after ${at + count} of ${bytes} bytes` });
    }
    if (known) mustBeKnown(known, piece, at);
    yield piece;
    at += count;
  }
}

function mustBeKnown({ path, crcs }: Known, piece: Buffer, at: number): void {
  const first = at / limits.pieceBytes;
  const found = crcsOf(piece);
  const [wrong] = damageIn(crcs.slice(first, first + found.length), found, piece.length);
  if (wrong) throw damaged(path, { from: at + wrong.from, to: at + wrong.to });
}

/** Copies the first bytes of a file to a new one; not synced. @returns their SHA-256 */
export async function copyOf(
  file: ReadableFile,
  bytes: number,
  to: string,
  count: Count,
  known?: Known,
): Promise<string> {
  const hash = createHash('sha256');
  const handle = await open(to, 'wx', 0o600);
  try {
    for await (const piece of piecesOf(file, bytes, to, known)) {
      hash.update(piece);
      await handle.writeFile(piece);
      count.add(piece.length);
    }
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

/** The SHA-256 of a file that has so many bytes; undefined if it has not. */
export async function hashOf(
  path: string,
  bytes: number,
  count: Count,
  known?: Known,
): Promise<string | undefined> {
  return withFile(path, async (file) => {
    if ((await file.size()) !== bytes) return undefined;
    const hash = createHash('sha256');
    for await (const piece of piecesOf(file, bytes, path, known)) {
      hash.update(piece);
      count.add(piece.length);
    }
    return hash.digest('hex');
  });
}

/** Whether a link was made; false where only a copy can do. */
export async function isLinked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(code))
      return false;
    throw error;
  }
}

/** Whether two files of one length that never change are the same: they begin alike. */
export async function isSame(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all([one, other].map(headOf));
  return first !== undefined && second !== undefined && first.equals(second);
}

function headOf(path: string): Promise<Buffer | undefined> {
  return withFile(path, async (file) => {
    const head = Buffer.alloc(headBytes);
    return head.subarray(0, await file.read(head, 0));
  }).catch(() => undefined);
}

/** Opens a file for as long as it is used. */
export async function withFile<T>(
  path: string,
  use: (file: ReadableFile) => Promise<T>,
): Promise<T> {
  const file = await nodeDisk.openRead(path);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}
