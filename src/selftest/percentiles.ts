/** Times, ms. */
export type Percentiles = {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
};

/** By nearest rank: every sample is kept, none is made up. Zeros if there is none. */
export function percentilesOf(samples: ArrayLike<number>): Percentiles {
  const sorted = Float64Array.from(samples).sort();
  const rank = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  const sum = sorted.reduce((total, sample) => total + sample, 0);
  const [p50, p90, p99, max] = [rank(0.5), rank(0.9), rank(0.99), rank(1)];
  return { count: sorted.length, mean: sum / Math.max(1, sorted.length), p50, p90, p99, max };
}
