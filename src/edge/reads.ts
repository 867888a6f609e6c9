import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { limits } from '../base/index.ts';

/*
 * Node makes 64 KiB of memory for each read of a socket, copies what came into a piece of its own,
 * and leaves both to the garbage collector: a tenth of what a small request costs. Here all reads
 * share one piece of memory. See docs/decisions/0025-reads-of-sockets.md.
 */

/** What a socket of Node is made with. */
type Handle = {
  onread?: (memory: ArrayBuffer | undefined) => void;
  useUserBuffer?: (memory: Buffer) => void;
};

/** How much the latest read has brought: bytes, 0, or a negative error. */
const lengthRead = lengthReader();
const shared = Buffer.allocUnsafeSlow(limits.readBytesMax);

/**
 * Offers what is read of a socket before it becomes 'data', in memory that holds it for no longer
 * than the call: the next read of any socket overwrites it. What is not taken, the end and errors
 * go the usual way. Does nothing to a socket that has no system's socket of its own.
 * @param take whether it took all of it.
 */
export function offerReads(socket: Duplex, take: (bytes: Buffer) => boolean): void {
  if (!lengthRead || !(socket instanceof Socket) || socket instanceof TLSSocket) return;
  const { _handle: handle } = socket as { readonly _handle?: Handle | null };
  const { onread } = handle ?? {};
  if (typeof handle?.useUserBuffer !== 'function' || typeof onread !== 'function') return;
  handle.useUserBuffer(shared);
  handle.onread = (memory) => {
    const length = lengthRead();
    if (length <= 0) return onread.call(handle, memory);
    if (take(shared.subarray(0, length))) return;
    onread.call(handle, shared.buffer.slice(0, length));
  };
}

/** Undefined where Node does not have it. */
function lengthReader(): (() => number) | undefined {
  const { binding } = process as unknown as { binding?: (name: string) => unknown };
  try {
    const streams = binding?.('stream_wrap') as
      | { streamBaseState?: Int32Array; kReadBytesOrError?: number }
      | undefined;
    const { streamBaseState: state, kReadBytesOrError: place } = streams ?? {};
    if (!state || place === undefined) return undefined;
    return () => state[place]!;
  } catch {
    return undefined;
  }
}
