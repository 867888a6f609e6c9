import { readdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

const niceness = 19;

/**
 * Lets other processes have the processor first. Where each thread has a priority of its own, the
 * threads that are there get it one by one; those they start inherit it.
 */
export function standBack(): void {
  for (const id of threadIds()) {
    try {
      setPriority(id, Math.max(niceness, getPriority(id)));
    } catch {
      // It has ended meanwhile, or this system does not have it: nothing depends on it.
    }
  }
}

function threadIds(): readonly number[] {
  try {
    return readdirSync('/proc/self/task').map(Number);
  } catch {
    return [process.pid];
  }
}
