/** Stops the process's current work on a bug: a condition that our own code must have ensured. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}
