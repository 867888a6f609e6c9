import { join } from 'node:path';
import { systemClock, type Task } from '../base/index.ts';
import { check } from './check.ts';
import type { Checked, Finding } from './finding.ts';
import { type Load, Repair } from './repair.ts';

/** Found, without how it is mended. */
type Told = Omit<Finding, 'fix'>;

export type FsckReport = {
  readonly checked: Checked;
  /** As they were found, damage first. */
  readonly findings: readonly Told[];
  /** What was done, in sentences; undefined if nothing was to be done. */
  readonly repair:
    | { readonly kept: string; readonly done: readonly string[]; readonly left: readonly Told[] }
    | undefined;
  /** Whether there is damage now. */
  readonly isWhole: boolean;
};

/** Mending the store shows what else there is; no more often than this. */
const roundsMax = 5;

/**
 * Checks a data directory that this process has the lock of.
 * @param load mends what can be mended with it; undefined: nothing is changed
 */
export async function fsck(
  dataDirectory: string,
  load: Load | undefined,
  task: Task,
): Promise<FsckReport> {
  const { checked, findings } = await check(dataDirectory, task);
  const told = new Map<string, Finding>();
  let left = findings;
  const done: string[] = [];
  const at = new Date(systemClock.nowMs()).toISOString().replace(/[-:]|\.\d+/g, '');
  const kept = join(dataDirectory, `fsck-${at}`);
  for (let round = 0; round < roundsMax; round += 1) {
    for (const finding of left) told.set(keyOf(finding), finding);
    if (!load || !left.some(({ fix }) => fix)) break;
    const now = await new Repair(dataDirectory, kept, load).run(left);
    if (now.length === 0) break;
    done.push(...now);
    left = (await check(dataDirectory, task)).findings;
  }
  return {
    checked,
    findings: inOrder([...told.values()]),
    repair: done.length === 0 ? undefined : { kept, done, left: inOrder(left) },
    isWhole: left.every(({ level }) => level === 'note'),
  };
}

function keyOf({ part, where, seen }: Finding): string {
  return JSON.stringify([part, where, seen]);
}

function inOrder(findings: readonly Finding[]): readonly Told[] {
  const told = findings.map(({ part, level, where, seen, covers, remedy }) => {
    return { part, level, where, seen, covers, remedy };
  });
  return told.toSorted((a, b) => (a.level === b.level ? 0 : a.level === 'damage' ? -1 : 1));
}
