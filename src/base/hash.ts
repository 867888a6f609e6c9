const [basis, prime] = [0x811c9dc5 | 0, 0x01000193];

/**
 * 32 bits of the bytes from `from` on, before `to` (FNV-1a). Others may have the same, and senders
 * can make them so: for looking up what is then compared, where a miss costs time alone.
 */
export function hashOf(bytes: Uint8Array, from: number, to: number): number {
  let hash = basis;
  for (let at = from; at < to; at += 1) hash = Math.imul(hash ^ bytes[at]!, prime);
  return hash;
}
