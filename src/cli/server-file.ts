import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../base/index.ts';

const schema = z.object({
  pid: z.int(),
  startedAt: z.string(),
  /** Undefined where it is another server that takes postbacks. */
  ingest: z.string().optional(),
  /** The ingest port with TLS, if there is one. */
  tls: z.string().optional(),
  admin: z.string(),
  instance: z.string(),
});

/** Where the running server's store is found: `<data>/server.json`. */
export type ServerFile = Readonly<z.infer<typeof schema>>;

function pathOf(dataDirectory: string): string {
  return join(dataDirectory, 'server.json');
}

export async function writeServerFile(dataDirectory: string, server: ServerFile): Promise<void> {
  await writeFileAtomic(pathOf(dataDirectory), `${JSON.stringify(server, null, 2)}\n`);
}

export async function removeServerFile(dataDirectory: string): Promise<void> {
  await rm(pathOf(dataDirectory), { force: true });
}

/** What the last server left there; it may be gone. */
export function readServerFile(dataDirectory: string): ServerFile | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(pathOf(dataDirectory), 'utf8')));
  } catch {
    return undefined;
  }
}
