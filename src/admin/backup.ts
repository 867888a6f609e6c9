import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { backup, type BackupReport } from '../backup/index.ts';
import type { Task } from '../base/index.ts';
import { marksNow, operation, word, type Workplace } from './operation.ts';

const backupSchema = z.strictObject({
  /** As the server sees it. */
  directory: word.refine(isAbsolute, 'expected an absolute path'),
  verify: z.boolean().default(false),
});

/** Makes a backup in a folder. */
export const backupOperation = operation(backupSchema, makeBackup);

async function makeBackup(
  place: Workplace,
  asked: z.output<typeof backupSchema>,
  task: Task,
): Promise<BackupReport> {
  const { dataDirectory, store, loader } = place;
  const hear = async () => {
    for (const [shard, mark] of await marksNow(place, task)) loader.durable(shard, mark);
  };
  return backup({ dataDirectory, store, loader, hear }, asked, task);
}
