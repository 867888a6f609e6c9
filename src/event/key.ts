import { hash } from 'node:crypto';
import { limits } from '../base/index.ts';

/** Of the keys that came lately, so that not each request is hashed. Only in memory. */
const known = new Map<string, Buffer>();

/** What is kept of a write key: its SHA-256, 32 bytes. Not to be written to. */
export function fingerprintOf(key: string): Buffer {
  const found = known.get(key);
  if (found) return found;
  const fingerprint = hash('sha256', key, 'buffer');
  if (known.size >= limits.keysKnownMax) known.clear();
  known.set(key, fingerprint);
  return fingerprint;
}
