import { z } from 'zod';
import { fault, type Mark, patient, type Task } from '../base/index.ts';
import type { Loader } from '../loader/index.ts';
import type { Store } from '../store/index.ts';
import type { EdgeReport } from '../supervise/index.ts';

/** What operations work on: of a running server, or of a closed data directory. */
export type Workplace = {
  readonly dataDirectory: string;
  readonly store: Store;
  readonly loader: Loader;
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

/** By shard: what its edge has acknowledged by now. */
export async function marksOf({ askEdges }: Workplace): Promise<ReadonlyMap<number, Mark>> {
  return new Map((await askEdges()).map(({ shard, mark }): [number, Mark] => [shard, mark]));
}
