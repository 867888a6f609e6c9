import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cpuMsOf, cpuMsOfCores } from '../processes.ts';
import { percentilesOf } from '../percentiles.ts';
import { progress, whileUsed } from '../server.ts';
import type { Generator, Shape } from './generator.ts';
import type { Contender, Peer, Running } from './peers.ts';

/** What all measurements of a run share. */
export type Run = {
  readonly folder: string;
  readonly generator: Generator;
  readonly peers: readonly Peer[];
  /** Of the generator's core, which is also this process's. */
  readonly own: number;
  /** The servers', one or more. */
  readonly servers: readonly [number, ...number[]];
  /** Whether the generator has its core for itself when two edges run. */
  readonly isThirdCore: boolean;
  readonly seconds: number;
  readonly rounds: number;
  readonly logBytes: number;
  readonly tables: number;
  readonly rows: readonly [number, number];
};

/** One closed loop against one server. */
export type Turn = {
  readonly perSecond: number;
  /** Of a processor, each event. */
  readonly cpuMicroseconds: number;
  /** Share of its cores that the server had; well below one it was not the limit. */
  readonly busy: number;
  /** What other programs had of them: more than a little, and the figures are theirs too. */
  readonly othersBusy: number;
  /** Share of the generator's core that was in use: near one, it was the limit. */
  readonly generatorBusy: number;
  /** From the end of the load until all of it was where it is to be. */
  readonly settledMs: number;
};

export const warmUpSeconds = 2;
export const oneEach: Shape = { connections: 256, eventsPerRequest: 1 };

/**
 * Starts a server, has it taken what it can, and stops it.
 * @throws when something was refused, or is not where it must be
 */
export async function closedLoopTurn(
  run: Run,
  contender: Contender,
  cores: readonly number[] = run.servers.slice(0, 1),
  shape: Shape = oneEach,
): Promise<Turn> {
  return withRunning(run, contender, cores, async (running) => {
    const { generator, own, seconds } = run;
    const warm = await generator.closedLoop(running.door, shape, warmUpSeconds);
    const look = async () => ({
      atMs: performance.now(),
      serverMs: await cpuMsOf(running.pid),
      coresMs: await cpuMsOfCores(cores),
      ownMs: await cpuMsOfCores([own]),
    });
    const before = await look();
    const { acknowledged, elapsedMs } = await generator.closedLoop(running.door, shape, seconds);
    const after = await look();
    await mustBeStored(contender, running, warm.acknowledged + acknowledged, 2, shape);
    const settledMs = performance.now() - after.atMs;
    const spent = (which: keyof typeof before) => after[which] - before[which];
    const coresMs = spent('atMs') * cores.length;
    return {
      perSecond: (acknowledged / elapsedMs) * 1_000,
      cpuMicroseconds: (spent('serverMs') / acknowledged) * 1_000,
      busy: spent('serverMs') / coresMs,
      othersBusy: Math.max(0, spent('coresMs') - spent('serverMs')) / coresMs,
      generatorBusy: spent('ownMs') / spent('atMs'),
      settledMs,
    };
  });
}

/** At the end of a loop `wrk` does not wait for what is under way: that may be stored too. */
export async function mustBeStored(
  { name, setting }: Contender,
  running: Running,
  acknowledged: number,
  loops: number,
  { connections, eventsPerRequest }: Shape,
): Promise<void> {
  const stored = await running.stored();
  if (stored === undefined) return;
  const most = acknowledged + loops * connections * eventsPerRequest;
  if (stored >= acknowledged && stored <= most) return;
  throw new Error(`${name}, ${setting}: ${acknowledged} were acknowledged, ${stored} are stored`);
}

export async function withRunning<T, R extends Running>(
  run: Run,
  contender: { readonly start: (folder: string, cores: readonly number[]) => Promise<R> },
  cores: readonly number[],
  use: (running: R) => Promise<T>,
): Promise<T> {
  const folder = join(run.folder, 'turn');
  await mkdir(folder);
  try {
    return await whileUsed(
      () => contender.start(folder, cores),
      use,
      ({ stop }) => stop(),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Each in turn, so many times over, so that what the machine does otherwise meets all alike. */
export async function interleaved<K, T>(
  rounds: number,
  keys: readonly K[],
  name: (key: K) => string,
  work: (key: K) => Promise<T>,
): Promise<ReadonlyMap<K, readonly T[]>> {
  const found = new Map<K, T[]>(keys.map((key) => [key, []]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const key of keys) {
      progress(`round ${round} of ${rounds}: ${name(key)}`);
      found.get(key)?.push(await work(key));
    }
  }
  return found;
}

export function median(values: readonly number[]): number {
  return percentilesOf(Float64Array.from(values)).p50;
}

/** The median of the ratios of each round. */
export function ratio(of: readonly number[], to: readonly number[]): number {
  return median(of.map((value, round) => value / (to[round] ?? NaN)));
}
