import { hash } from 'node:crypto';

/** What is kept of a write key: its SHA-256, 32 bytes. */
export function fingerprintOf(key: string): Buffer {
  return hash('sha256', key, 'buffer');
}
