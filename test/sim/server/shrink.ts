import type { Action } from './actions.ts';
import { type Plant, simulate } from './world.ts';

/** Leaves out what a failure does not need, in ever smaller parts (ddmin). */
export async function shortest(
  seed: number,
  actions: readonly Action[],
  plant?: Plant,
): Promise<readonly Action[]> {
  const fails = async (some: readonly Action[]) => {
    return (await simulate(seed, some, plant)).violations.length > 0;
  };
  let rest = actions;
  for (let size = Math.ceil(rest.length / 2); size >= 1; ) {
    let isShorter = false;
    for (let at = 0; at < rest.length; ) {
      const some = rest.toSpliced(at, size);
      if (await fails(some)) {
        rest = some;
        isShorter = true;
      } else at += size;
    }
    // What was needed may not be any more.
    if (size > 1) size = Math.ceil(size / 2);
    else if (!isShorter) break;
  }
  return rest;
}
