import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { fault, limits, MillraceError } from '../base/index.ts';

/** Bytes of bodies that one edge holds at once. */
export class BodyBudget {
  #used = 0;

  get used(): number {
    return this.#used;
  }

  /** Takes `bytes` of the budget if they are there. */
  take(bytes: number): boolean {
    if (this.#used + bytes > limits.bodyBytesInFlightMax) return false;
    this.#used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }
}

/** A body that was read, and the budget it holds until it is on disk. */
export type ReadBody = { readonly bytes: Buffer; readonly budgetBytes: number };

/**
 * Reads a request's body as it was sent. Gives `undefined` when the sender went away. The rest of
 * a body that is refused is read and thrown away, up to `discardBytesMax`: a sender that is cut
 * off while it sends would not see the answer.
 */
export function readBody(
  request: IncomingMessage,
  budget: BodyBudget,
): Promise<ReadBody | MillraceError | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let refusal: MillraceError | undefined;
    let isSettled = false;
    const settle = (result: ReadBody | MillraceError | undefined) => {
      if (isSettled) return;
      isSettled = true;
      const held = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      if (result === undefined || result instanceof MillraceError) budget.give(held);
      resolve(result);
    };
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > limits.bodyBytesMax) refusal ??= tooLarge();
      else if (!refusal && !budget.take(chunk.length)) refusal = fault('EDGE_BUSY');
      if (!refusal) chunks.push(chunk);
      else if (size > limits.discardBytesMax) settle(refusal);
    });
    request.once('end', () => {
      const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
      settle(refusal ?? { bytes, budgetBytes: bytes.length });
    });
    request.once('close', () => settle(undefined));
    request.once('error', () => settle(undefined));
  });
}

function tooLarge(): MillraceError {
  return fault('BODY_TOO_LARGE', { expected: limits.bodyBytesMax });
}

type Decode = (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

const inflate = promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.inflate);
const inflateRaw = promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.inflateRaw);

const decoders = new Map<string, Decode>([
  ['gzip', promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.gunzip)],
  ['x-gzip', promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.gunzip)],
  // "deflate" means zlib (RFC 1950), but some senders leave its header out (RFC 1951).
  ['deflate', (bytes, options) => (isZlib(bytes) ? inflate : inflateRaw)(bytes, options)],
  ['br', promisify<Buffer, zlib.BrotliOptions, Buffer>(zlib.brotliDecompress)],
  ['zstd', promisify<Buffer, zlib.ZstdOptions, Buffer>(zlib.zstdDecompress)],
]);

/** Decodes a body by its Content-Encoding, to at most `bodyBytesMax` bytes. */
export async function decodeBody(
  bytes: Buffer,
  contentEncoding: string | undefined,
): Promise<Buffer | MillraceError> {
  const encoding = (contentEncoding ?? '').trim().toLowerCase();
  if (encoding === '' || encoding === 'identity' || bytes.length === 0) return bytes;
  const decode = decoders.get(encoding);
  if (!decode) return fault('UNKNOWN_ENCODING', { seen: encoding.slice(0, 80) });
  try {
    return await decode(bytes, { maxOutputLength: limits.bodyBytesMax });
  } catch (error) {
    const isTooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    return isTooLarge ? tooLarge() : fault('BAD_ENCODING', { seen: encoding }, error);
  }
}

function isZlib(bytes: Buffer): boolean {
  return bytes.length >= 2 && (bytes[0]! & 0x0f) === 8 && bytes.readUInt16BE(0) % 31 === 0;
}
