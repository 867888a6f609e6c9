/** The time of day, as a seam. */
export interface Clock {
  /** Milliseconds since the UNIX epoch, UTC. May step back when the system's clock does. */
  nowMs(): number;
}

export const systemClock: Clock = { nowMs: () => Date.now() };
