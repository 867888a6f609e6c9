import { z } from 'zod';
import { fault, limits, type Mark, patient, sleep, type Task } from '../base/index.ts';
import type { Loader } from '../loader/index.ts';
import type { Store } from '../store/index.ts';
import type { EdgeReport } from '../supervise/index.ts';

/** What operations work on: of a running server, or of a closed data directory. */
export type Workplace = {
  readonly dataDirectory: string;
  readonly store: Store;
  readonly loader: Loader;
  /** How many edges there are. */
  readonly edges: number;
  readonly askEdges: () => Promise<readonly EdgeReport[]>;
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
 * How far every edge is now, after those that did not answer at once.
 * @returns undefined when it is not known before the signal
 */
export async function marksOf(
  { edges, askEdges }: Pick<Workplace, 'edges' | 'askEdges'>,
  stop: AbortSignal,
): Promise<ReadonlyMap<number, Mark> | undefined> {
  while (!stop.aborted) {
    const reports = await askEdges();
    if (reports.length >= edges) return new Map(reports.map(({ shard, mark }) => [shard, mark]));
    await sleep(100, stop);
  }
  return undefined;
}

/** The same, or an error. @throws FLUSH_TIMEOUT */
export async function marksNow(
  place: Pick<Workplace, 'edges' | 'askEdges'>,
  { signal }: Pick<Task, 'signal'> = patient,
): Promise<ReadonlyMap<number, Mark>> {
  const late = AbortSignal.timeout(limits.flushTimeoutMs);
  const marks = await marksOf(place, AbortSignal.any([late, signal]));
  signal.throwIfAborted();
  if (marks) return marks;
  throw fault('FLUSH_TIMEOUT', { seen: limits.flushTimeoutMs / 1000 });
}
