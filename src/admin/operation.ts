import { z } from 'zod';
import { fault, limits, type Mark, patient, sleep, type Task } from '../base/index.ts';
import type { Loader } from '../loader/index.ts';
import type { Store } from '../store/index.ts';

/** What operations work on: of a running server, or of a closed data directory. */
export type Workplace = {
  readonly dataDirectory: string;
  readonly store: Store;
  readonly loader: Loader;
  readonly shards: readonly number[];
  /** How far each shard is now, but for those whose edges do not answer. */
  readonly marks: () => Promise<ReadonlyMap<number, Mark>>;
};

/** The engine's texts end at a NUL. */
export const word = z.string().regex(/^[^\0]+$/, 'expected text');
export const tableSchema = z.strictObject({ database: word, table: word });

/** Throws BAD_REQUEST at once, before it begins, when what is asked for has another form. */
export function operation<S extends z.ZodType, R>(
  schema: S,
  run: (place: Workplace, asked: z.output<S>, task: Task) => Promise<R>,
): (place: Workplace, asked: z.input<S>, task?: Task) => Promise<R> {
  return (place, asked, task = patient) => {
    const read = schema.safeParse(asked);
    if (read.success) return run(place, read.data, task);
    const seen = read.error.issues.map(({ path, message }) => [...path, message].join(': '));
    throw fault('BAD_REQUEST', { seen: seen.join('; ') });
  };
}

/**
 * How far every shard is now, after edges that did not answer at once.
 * @returns undefined when it is not known before the signal
 */
export async function marksOf(
  { shards, marks }: Pick<Workplace, 'shards' | 'marks'>,
  stop: AbortSignal,
): Promise<ReadonlyMap<number, Mark> | undefined> {
  while (!stop.aborted) {
    const found = await marks();
    if (shards.every((shard) => found.has(shard))) return found;
    await sleep(100, stop);
  }
  return undefined;
}

/** The same, or an error. @throws FLUSH_TIMEOUT */
export async function marksNow(
  place: Pick<Workplace, 'shards' | 'marks'>,
  { signal }: Pick<Task, 'signal'> = patient,
): Promise<ReadonlyMap<number, Mark>> {
  const late = AbortSignal.timeout(limits.flushTimeoutMs);
  const marks = await marksOf(place, AbortSignal.any([late, signal]));
  signal.throwIfAborted();
  if (marks) return marks;
  throw fault('FLUSH_TIMEOUT', { seen: limits.flushTimeoutMs / 1000 });
}
