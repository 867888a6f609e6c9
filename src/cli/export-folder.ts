import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fault, nodeDisk, writeFileAtomic } from '../base/index.ts';

const manifestName = 'manifest.json';
/** There as long as the export is not finished. */
const unfinishedName = 'unfinished.json';
/** Files that we write, and what they are called before they are whole. */
const written = /^(date=[\dT-]+\.(parquet|csv|ndjson)|manifest\.json)$/;
const temporary = /^(date=[\dT-]+\.(parquet|csv|ndjson)|(manifest|unfinished)\.json\.\d+)\.tmp$/;

/** What is exported; times are UNIX seconds. */
export type Asked = {
  /** `database.table` */
  readonly table: string;
  readonly format: string;
  readonly since: number | null;
  readonly until: number | null;
  /** The times as they were typed: `24h` means the same export when it is continued. */
  readonly given: { readonly since: string | null; readonly until: string | null };
};

/** A file, and what is in it: rows whose time is from `from` to before `to`. */
export type Exported = {
  readonly name: string;
  readonly rows: number;
  readonly bytes: number;
  readonly from: number;
  readonly to: number;
};

/** What an export holds, as `manifest.json` says it. */
export type Manifest = Omit<Asked, 'given'> & {
  /** Up to when the table held everything that was acknowledged: a time, or `everything`. */
  readonly completeTo: string;
  /** One receipt for each shard: rows before it are meant. */
  readonly watermark: readonly string[];
  readonly rows: number;
  readonly files: readonly Exported[];
};

type Unfinished = Omit<Manifest, 'rows'> & Pick<Asked, 'given'>;

/** The folder that an export is written to, and how far it is. */
export class ExportFolder {
  readonly path: string;
  #state: Unfinished;

  private constructor(path: string, state: Unfinished) {
    this.path = path;
    this.#state = state;
  }

  /** An empty folder, or one whose export is to be continued. @throws BAD_USAGE */
  static async open(path: string, asked: Asked): Promise<ExportFolder> {
    await mkdir(path, { recursive: true });
    const names = (await readdir(path)).filter((name) => !temporary.test(name));
    if (names.length === 0) {
      const state = { ...asked, completeTo: '', watermark: [], files: [] };
      return new ExportFolder(path, state);
    }
    const before = await readUnfinished(path);
    if (before && sameAsked(before, asked)) return new ExportFolder(path, before);
    const seen = before
      ? `${path} holds an unfinished export of something else`
      : `${path} is not empty`;
    throw fault('BAD_USAGE', { seen, hint: 'Choose another folder with --to, or empty this one.' });
  }

  get asked(): Asked {
    return this.#state;
  }

  get watermark(): readonly string[] {
    return this.#state.watermark;
  }

  /** Settles which rows are meant, unless an earlier run has. */
  async begin(watermark: readonly string[], completeTo: string): Promise<void> {
    if (this.#state.watermark.length > 0) return;
    await this.#save({ ...this.#state, watermark, completeTo });
  }

  /** Whether a file is there with just these rows. */
  has({ name, rows, from, to }: Omit<Exported, 'bytes'>): boolean {
    return this.#state.files.some((file) => {
      return file.name === name && file.rows === rows && file.from === from && file.to === to;
    });
  }

  async add(file: Exported): Promise<void> {
    const others = this.#state.files.filter(({ name }) => name !== file.name);
    await this.#save({ ...this.#state, files: [...others, file] });
  }

  /** Removes what was written and is no part any more, and what an earlier run began. */
  async keepOnly(parts: readonly { readonly name: string }[]): Promise<void> {
    const kept = new Set(parts.map(({ name }) => name));
    for (const name of await readdir(this.path)) {
      const isOurs = written.test(name) || temporary.test(name);
      if (isOurs && !kept.has(name)) await rm(join(this.path, name), { force: true });
    }
    const files = this.#state.files.filter(({ name }) => kept.has(name));
    if (files.length < this.#state.files.length) await this.#save({ ...this.#state, files });
  }

  async finish(): Promise<Manifest> {
    const { given: _, ...state } = this.#state;
    const files = state.files.toSorted((one, other) => one.from - other.from);
    const rows = files.reduce((sum, file) => sum + file.rows, 0);
    const manifest = { ...state, rows, files };
    await writeFileAtomic(join(this.path, manifestName), `${JSON.stringify(manifest, null, 2)}\n`);
    await rm(join(this.path, unfinishedName), { force: true });
    await nodeDisk.syncDirectory(this.path);
    return manifest;
  }

  async #save(state: Unfinished): Promise<void> {
    this.#state = state;
    await writeFileAtomic(join(this.path, unfinishedName), `${JSON.stringify(state, null, 2)}\n`);
  }
}

async function readUnfinished(path: string): Promise<Unfinished | undefined> {
  try {
    return JSON.parse(await readFile(join(path, unfinishedName), 'utf8')) as Unfinished;
  } catch {
    return undefined;
  }
}

function sameAsked(one: Asked, other: Asked): boolean {
  const key = ({ table, format, given }: Asked) => [table, format, given.since, given.until];
  return JSON.stringify(key(one)) === JSON.stringify(key(other));
}
