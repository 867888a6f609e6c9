import { randomBytes } from 'node:crypto';

/** Chance, as a seam. */
export interface Ids {
  /** `count` unpredictable bytes. */
  bytes(count: number): Buffer;
}

export const randomIds: Ids = { bytes: (count) => randomBytes(count) };
