import type { Times } from './load-log.ts';

export type Percentiles = {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
};

/** Exact percentiles by nearest rank: every sample is kept, none is interpolated. */
export function percentilesOf(samples: Float64Array): Percentiles {
  const sorted = samples.toSorted();
  const rank = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN;
  return { p50: rank(0.5), p99: rank(0.99), p999: rank(0.999), max: rank(1) };
}

/** The median of each time of some rounds. */
export function medianOf(rounds: readonly Times[]): Times {
  const of = (time: keyof Times) => {
    return percentilesOf(Float64Array.from(rounds, (round) => round[time])).p50;
  };
  return { elapsedMs: of('elapsedMs'), cpuMs: of('cpuMs') };
}
