import type { DiskFacts, machineFacts } from './machine.ts';
import type { Findings } from './oracle.ts';
import type { Percentiles } from './percentiles.ts';
import type { Senders } from './senders.ts';

/** What is killed. */
export const targets = ['edge', 'store', 'supervisor', 'all', 'drain', 'start'] as const;
export type Target = (typeof targets)[number];

/** Kills of one kind. */
export type Kills = {
  kills: number;
  /** … while requests were under way … */
  inFlight: number;
  /** … of which some got no answer by it. */
  cut: number;
};

export type CrashReport = {
  readonly verdict: 'PASS' | 'FAIL' | 'VACUOUS';
  /** Why it is not PASS. */
  readonly reasons: readonly string[];
  readonly seed: number;
  readonly rounds: number;
  readonly startedAt: string;
  readonly endedAt: string;
  readonly machine: ReturnType<typeof machineFacts>;
  readonly disk: DiskFacts;
  /** A synced write of one event, before the first kill. */
  readonly syncMs: Percentiles;
  readonly kills: Readonly<Record<Target, Kills>>;
  /** From a start to the first request that is taken. */
  readonly startMs: Percentiles;
  readonly requests: Senders['counts'];
  readonly acknowledged: number;
  readonly unanswered: number;
  readonly refused: number;
  readonly findings: Findings | undefined;
  readonly keyChanges: number;
  readonly archives: number;
  readonly compactions: number;
  /** A fresh event of each table was taken after all the faults, and found. */
  readonly isFreshTaken: boolean;
  /** By how much the server's own books are wrong. */
  readonly ledgerRemainder: number | undefined;
  /** `fsck` finds no damage when the server has ended. */
  readonly isWhole: boolean;
  /** What the server said as an error, each once. */
  readonly serverErrors: readonly string[];
  /** Kept because it failed. */
  readonly keptIn: string | undefined;
};

/** What is found when the kills are over. */
export type End = {
  readonly findings: Findings;
  readonly strange: readonly string[];
  readonly ledgerRemainder: number;
  readonly exitCode: number | null;
  /** What `fsck` says of the data when the server has ended. */
  readonly damage: readonly string[];
  readonly isFreshTaken: boolean;
};

/** How the promise was broken, as far as the end shows it. */
export function brokenIn(end: End): readonly string[] {
  const { findings, strange, ledgerRemainder, exitCode, damage, isFreshTaken } = end;
  return [
    ...findings.examples,
    ...strange,
    ...damage,
    ...(isFreshTaken ? [] : ['a fresh event was not taken']),
    ...(ledgerRemainder === 0 ? [] : [`the server's ledger misses ${ledgerRemainder} events`]),
    ...(exitCode === 0 ? [] : [`the server ended with ${exitCode}`]),
  ];
}

export function kindsOfKills(): Record<Target, Kills> {
  const none = () => ({ kills: 0, inFlight: 0, cut: 0 });
  const kinds = { edge: none(), store: none(), supervisor: none() };
  return { ...kinds, all: none(), drain: none(), start: none() };
}

type Deeds = Pick<CrashReport, 'kills' | 'requests' | 'keyChanges' | 'archives'>;

/** What must have happened, or the run shows nothing. */
export function missingIn({ kills, requests, keyChanges, archives }: Deeds): readonly string[] {
  const sum = (name: keyof Kills) => {
    return targets.reduce((total, target) => total + kills[target][name], 0);
  };
  const asked: readonly (readonly [isThere: boolean, missing: string])[] = [
    ...targets.map((target) => [kills[target].kills > 0, `no kill of ${target}`] as const),
    [2 * sum('inFlight') >= sum('kills'), 'too few kills met requests under way'],
    [4 * sum('cut') >= sum('kills'), 'too few kills cut requests off'],
    [requests.repeated > 0, 'nothing was sent again'],
    [requests.refused > 0, 'nothing was refused'],
    [requests.givenUp > 0, 'no sender left'],
    [keyChanges > 0, 'no key changed'],
    [archives > 0, 'no rows were moved to files'],
  ];
  return asked.flatMap(([isThere, missing]) => (isThere ? [] : [missing]));
}
