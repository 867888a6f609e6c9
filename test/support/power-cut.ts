import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from './random.ts';
import { type Change, type Entry, type Inode, parentOf } from './recording.ts';
import { type Recording, sizeOf } from './recording.ts';

/*
 * What a disk may hold after the power went at a moment of a recording. What was synced is there:
 * bytes by a sync of their file that began after they were written, or because the file was opened
 * so; names by a sync of their folder. What was not may be there, or not, or in part: each name for
 * itself, each piece of a write for itself, and the length of a file without its bytes.
 */

/** What becomes of all that is not synced. */
export const fates = ['gone', 'there', 'sectors', 'pages', 'mixed'] as const;
export type Fate = (typeof fates)[number];

export type Cut = { readonly moment: number; readonly fate: Fate; readonly seed: number };

const pieceBytes = { sectors: 512, pages: 4096 } as const;

/** Of which files and folders a sync kept nothing, by path: to see that this is found. */
export type Liar = (path: string) => boolean;

/** Makes the folder as the disk has it. @returns how many changes are not there as a whole */
export async function buildDisk(
  recording: Recording,
  cut: Cut,
  folder: string,
  isLied: Liar = () => false,
): Promise<number> {
  const disk = new Disk(cut, isLied);
  const entries = disk.entries(recording);
  const folders = [...entries].filter(([, entry]) => entry === 'folder').map(([path]) => path);
  await mkdir(folder, { recursive: true });
  for (const path of folders.sort()) await mkdir(join(folder, path), { recursive: true });
  const made = new Map<Inode, Buffer>();
  for (const [path, entry] of entries) {
    if (entry === 'folder') continue;
    const bytes = made.get(entry) ?? disk.bytes(entry);
    made.set(entry, bytes);
    await writeFile(join(folder, path), bytes, { mode: 0o600 });
  }
  return disk.lacking;
}

class Disk {
  /** Changes that are not there as a whole. */
  lacking = 0;
  readonly #cut: Cut;
  readonly #random: Random;
  readonly #isLied: Liar;

  constructor(cut: Cut, isLied: Liar) {
    this.#cut = cut;
    this.#random = new Random(cut.seed);
    this.#isLied = isLied;
  }

  /** What has a name, in folders that have one. */
  entries({ namings, folderSyncs }: Recording): ReadonlyMap<string, Entry> {
    const { moment } = this.#cut;
    const entries = new Map<string, Entry>();
    for (const naming of namings) {
      if (naming.begin > moment) continue;
      // A rename is there or not, as a whole: its target says it.
      const [[first] = ['']] = naming.names;
      const parent = parentOf(first);
      const syncs = this.#isLied(parent) ? [] : (folderSyncs.get(parent) ?? []);
      const isSynced = syncs.some((sync) => sync.begin >= naming.end && sync.end <= moment);
      if (!isSynced && !this.#isKept()) {
        this.lacking += 1;
        continue;
      }
      for (const [path, entry] of naming.names) {
        if (entry) entries.set(path, entry);
        else entries.delete(path);
      }
    }
    const isReachable = (path: string): boolean => {
      const parent = parentOf(path);
      return parent === '' || (entries.get(parent) === 'folder' && isReachable(parent));
    };
    return new Map([...entries].filter(([path]) => isReachable(path)));
  }

  bytes({ changes, syncs, born }: Inode): Buffer {
    const { moment } = this.#cut;
    const isSynced = (change: Change) => {
      if (this.#isLied(born) || change.end > moment) return false;
      return change.isSync || syncs.some((sync) => sync.begin >= change.end && sync.end <= moment);
    };
    const begun = changes.filter(({ begin }) => begin <= moment);
    const kept = begun.flatMap((change) => (isSynced(change) ? [change] : this.#left(change)));
    const ends = kept.map((change) => sizeOf([change]));
    const bytes = Buffer.alloc(ends.reduce((most, end) => Math.max(most, end), 0));
    let size = 0;
    for (const change of kept) {
      if (change.kind === 'write') {
        change.bytes.copy(bytes, change.at);
        size = Math.max(size, change.at + change.bytes.length);
      } else {
        if (change.shrinks && change.size < size) bytes.fill(0, change.size);
        size = change.shrinks ? change.size : Math.max(size, change.size);
      }
    }
    return bytes.subarray(0, size);
  }

  /** What is left of a change that was not synced. */
  #left(change: Change): readonly Change[] {
    const { fate } = this.#cut;
    const simple = ['gone', 'there', 'sectors', 'pages'] as const;
    const one = fate === 'mixed' ? pick(simple, this.#random) : fate;
    if (one === 'there') return [change];
    const isCoin = () => this.#random.integer(0, 1) === 0;
    if (change.kind === 'resize' && one !== 'gone' && isCoin()) return [change];
    this.lacking += 1;
    if (one === 'gone' || change.kind === 'resize') return [];
    const piece = pieceBytes[one];
    const end = change.at + change.bytes.length;
    const pieces: Change[] = [];
    for (let at = change.at; at < end; ) {
      const next = Math.min(end, (Math.floor(at / piece) + 1) * piece);
      const bytes = change.bytes.subarray(at - change.at, next - change.at);
      if (isCoin()) pieces.push({ ...change, at, bytes });
      at = next;
    }
    // A length without its bytes: zeros.
    const { begin, end: ended, isSync } = change;
    if (isCoin()) {
      pieces.push({ begin, end: ended, isSync, kind: 'resize', size: end, shrinks: false });
    }
    return pieces;
  }

  #isKept(): boolean {
    const { fate } = this.#cut;
    return fate === 'there' || (fate !== 'gone' && this.#random.integer(0, 1) === 0);
  }
}

export function pick<T>(of: readonly T[], random: Random): T {
  return of[random.integer(0, of.length - 1)] as T;
}
