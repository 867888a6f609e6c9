import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import { z } from 'zod';
import { fault, messageOf, writeFileAtomic } from '../base/index.ts';

export const manifestName = 'manifest.json';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const size = z.int().min(0);
/** Below a folder, and not out of it again. */
const path = z.string().refine((text) => {
  return text !== '' && normalize(text) === text && !/^(\.\.)?(\/|$)/.test(text);
}, 'a path below the backup');

const contentSchema = z.strictObject({
  /** Of this form. */
  version: z.literal(1),
  id: z.string().regex(/^\d{8}T\d{6}Z-[0-9a-f]{8}$/),
  createdAt: z.iso.datetime(),
  /** How far each shard of the log was. */
  shards: z.array(z.strictObject({ shard: size, cursor: size, durable: size })),
  /** What could be queried. */
  tables: z.array(z.strictObject({ database: z.string(), table: z.string(), rows: size })),
  quarantined: size,
  /**
   * Paths are below the backup's folder. What lies in the folder named by the id is of this backup
   * alone; in a data directory its path is the rest.
   */
  files: z.array(z.strictObject({ path, bytes: size, sha256 })),
});

/** What a backup is. */
export type Manifest = Readonly<z.infer<typeof contentSchema>>;

/** A file of a backup. */
export type Kept = Manifest['files'][number];

/** A name for a new backup; by time, for people. */
export function newId(createdAt: string, random: Buffer): string {
  return `${createdAt.replace(/[-:]|\.\d+/g, '')}-${random.toString('hex')}`;
}

/** Whether a name could be a backup's id. */
export function isId(name: string): boolean {
  return contentSchema.shape.id.safeParse(name).success;
}

/** Where a file of a backup stands in a data directory. */
export function placeOf({ id }: Manifest, { path: text }: Kept): string {
  return text.startsWith(`${id}/`) ? text.slice(id.length + 1) : text;
}

/** All bytes of it. */
export function bytesOf({ files }: Pick<Manifest, 'files'>): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Makes a manifest the one of its folder, durably. */
export async function writeManifest(directory: string, manifest: Manifest): Promise<void> {
  await writeFileAtomic(join(directory, manifestName), textOf(manifest));
}

/** Its text, with the checksum of itself at the end. */
function textOf(manifest: Manifest): string {
  const text = JSON.stringify(manifest, null, 1);
  const checksum = createHash('sha256').update(text).digest('hex');
  return `${JSON.stringify({ ...manifest, checksum }, null, 1)}\n`;
}

/** The manifest of a folder; undefined when there is none. @throws BACKUP_DAMAGED */
export async function findManifest(directory: string): Promise<Manifest | undefined> {
  let text: string;
  try {
    text = await readFile(join(directory, manifestName), 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return undefined;
    throw error;
  }
  try {
    const { checksum: _, ...content } = JSON.parse(text) as Record<string, unknown>;
    const manifest = contentSchema.parse(content);
    // One text for one manifest: no byte of it can be another.
    if (textOf(manifest) === text) return manifest;
  } catch (error) {
    throw fault('BACKUP_DAMAGED', { seen: `${manifestName}: ${messageOf(error)}` }, error);
  }
  throw fault('BACKUP_DAMAGED', { seen: `${manifestName} is not what was written` });
}

/** The manifest of a folder. @throws NO_BACKUP, BACKUP_DAMAGED */
export async function readManifest(directory: string): Promise<Manifest> {
  const manifest = await findManifest(directory);
  if (!manifest) throw fault('NO_BACKUP', { seen: directory });
  return manifest;
}
