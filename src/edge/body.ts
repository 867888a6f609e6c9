import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import * as zlib from 'node:zlib';
import { fault, limits, MillraceError } from '../base/index.ts';
import type { Rooms } from './rooms.ts';

export type Incoming = IncomingMessage | Http2ServerRequest;

/** Bytes of bodies that one edge holds at once. */
export class BodyBudget {
  #used = 0;

  get used(): number {
    return this.#used;
  }

  /**
   * Takes `bytes` of the budget if they are there.
   * @param bodyBytes of the whole body, as far as is known: large ones leave room for small ones.
   */
  take(bytes: number, bodyBytes: number): boolean {
    const isSmall = bodyBytes <= limits.smallBodyBytesMax;
    const max = isSmall ? limits.bodyBytesInFlightMax : limits.largeBodyBytesInFlightMax;
    if (this.#used + bytes > max) return false;
    this.#used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }
}

/**
 * Bytes that come piece by piece, in one room: a piece of one byte would take hundreds by itself.
 */
class Pieces {
  readonly #rooms: Rooms;
  readonly #roomMin: number;
  /** The first piece, as long as it is the only one. */
  #first: Buffer = noBytes;
  #room: Buffer | undefined;
  #length = 0;

  /** @param roomMin that there is from the second piece on, bytes. */
  constructor(rooms: Rooms, roomMin: number) {
    this.#rooms = rooms;
    this.#roomMin = roomMin;
  }

  get bytes(): Buffer {
    return this.#room ? this.#room.subarray(0, this.#length) : this.#first;
  }

  add(piece: Buffer): void {
    const length = this.#length + piece.length;
    if (this.#length === 0) this.#first = piece;
    else {
      if (length > (this.#room?.length ?? 0)) this.#widen(length);
      piece.copy(this.#room as Buffer, this.#length);
    }
    this.#length = length;
  }

  /** Gives its room back: nobody may look at its bytes any more. */
  clear(): void {
    if (this.#room) this.#rooms.give(this.#room);
    this.#room = undefined;
    this.#first = noBytes;
    this.#length = 0;
  }

  #widen(length: number): void {
    const narrow = this.#room;
    const wide = this.#rooms.take(Math.max(length, 2 * this.#length, this.#roomMin));
    this.bytes.copy(wide);
    this.#room = wide;
    this.#first = noBytes;
    if (narrow) this.#rooms.give(narrow);
  }
}

const noBytes = Buffer.alloc(0);

/** A body that was read, and the budget it holds until it is on disk. */
export type ReadBody = {
  readonly bytes: Buffer;
  readonly budgetBytes: number;
  /** Lets go of the bytes: nobody may look at them any more. */
  readonly free: () => void;
};

/**
 * Reads a request's body as it was sent. Gives `undefined` when the sender went away. The rest of
 * a body that is refused is read and thrown away, up to `discardBytesMax`: a sender that is cut
 * off while it sends would not see the answer.
 * @param rooms for what is large.
 * @param rest lets others have their turn before more of it is read.
 * @throws BODY_TOO_LARGE, EDGE_BUSY
 */
export function readBody(
  request: Incoming,
  budget: BodyBudget,
  rooms: Rooms,
  bytesMax: number,
  rest: () => void,
): Promise<ReadBody | undefined> {
  return new Promise((resolve, reject) => {
    const length = Number(request.headers['content-length']) || 0;
    // A large one takes all its room at once: else many would come half the way, and none on.
    const wholeBytes = length > limits.smallBodyBytesMax ? length : 0;
    const body = new Pieces(rooms, wholeBytes);
    let [size, pieces, heldBytes] = [0, 0, 0];
    let refusal: MillraceError | undefined;
    let isSettled = false;
    const free = () => body.clear();
    const drop = () => {
      budget.give(heldBytes);
      heldBytes = 0;
      free();
    };
    const settle = (result: ReadBody | MillraceError | undefined) => {
      if (isSettled) return;
      isSettled = true;
      if (result === undefined || result instanceof MillraceError) drop();
      if (result instanceof MillraceError) reject(result);
      else resolve(result);
    };
    const refusalOfNext = () => {
      if (Math.max(size, length) > bytesMax) return tooLarge(bytesMax);
      const neededBytes = wholeBytes || size;
      if (!budget.take(neededBytes - heldBytes, neededBytes)) return fault('EDGE_BUSY');
      heldBytes = neededBytes;
      return undefined;
    };
    request.on('data', (chunk: Buffer) => {
      if (isSettled) return;
      size += chunk.length;
      refusal ??= refusalOfNext();
      if (!refusal) body.add(chunk);
      else {
        drop();
        if (size > limits.discardBytesMax) return settle(refusal);
      }
      pieces += 1;
      if (size > limits.smallBodyBytesMax || pieces > limits.smallBodyPiecesMax) rest();
    });
    request.once('end', () => {
      settle(refusal ?? { bytes: body.bytes, budgetBytes: heldBytes, free });
    });
    // A stream of HTTP/2 that is reset ends as if it were whole, but says this before.
    request.once('aborted', () => settle(undefined));
    request.once('close', () => settle(undefined));
    request.once('error', () => settle(undefined));
  });
}

function tooLarge(expected: number): MillraceError {
  return fault('BODY_TOO_LARGE', { expected });
}

type Decoder = (
  bytes: Buffer,
  options: { maxOutputLength: number; info: true },
  done: (error: Error | null, result: unknown) => void,
) => void;

const decoders = new Map<string, Decoder>([
  ['gzip', zlib.gunzip],
  ['x-gzip', zlib.gunzip],
  // "deflate" means zlib (RFC 1950), but some senders leave its header out (RFC 1951).
  ['deflate', (bytes, ...rest) => (isZlib(bytes) ? zlib.inflate : zlib.inflateRaw)(bytes, ...rest)],
  ['br', zlib.brotliDecompress],
  ['zstd', zlib.zstdDecompress],
]);

/** What comes out of the first stream in `bytes`, and how many of them it took. */
function decodeOne(decoder: Decoder, bytes: Buffer, maxOutputLength: number) {
  return new Promise<{ readonly buffer: Buffer; readonly taken: number }>((resolve, reject) => {
    decoder(bytes, { maxOutputLength, info: true }, (error, result) => {
      if (error) return reject(error);
      const { buffer, engine } = result as { buffer: Buffer; engine: { bytesWritten: number } };
      resolve({ buffer, taken: engine.bytesWritten });
    });
  });
}

/** All of it. The frames of zstd may follow one another; anything behind the others is an error. */
async function decodeAll(encoding: string, decoder: Decoder, bytes: Buffer, bytesMax: number) {
  const parts: Buffer[] = [];
  let left = bytesMax;
  for (let rest = bytes; rest.length > 0; ) {
    // Each costs a decoder, however little is in it.
    if (parts.length === limits.encodingFramesMax) throw fault('BAD_ENCODING', { seen: encoding });
    const { buffer, taken } = await decodeOne(decoder, rest, Math.max(1, left));
    parts.push(buffer);
    left -= buffer.length;
    if (left < 0) throw tooLarge(bytesMax);
    rest = rest.subarray(taken);
    if (rest.length > 0 && (encoding !== 'zstd' || taken === 0)) {
      throw fault('BAD_ENCODING', { seen: encoding });
    }
  }
  return Buffer.concat(parts);
}

/**
 * Decodes a body by its Content-Encoding, to at most `bytesMax` bytes.
 * @throws UNKNOWN_ENCODING, BAD_ENCODING, BODY_TOO_LARGE
 */
export async function decodeBody(
  bytes: Buffer,
  contentEncoding: string | undefined,
  bytesMax: number,
): Promise<Buffer> {
  const encoding = (contentEncoding ?? '').trim().toLowerCase();
  if (encoding === '' || encoding === 'identity' || bytes.length === 0) return bytes;
  const decoder = decoders.get(encoding);
  if (!decoder) throw fault('UNKNOWN_ENCODING', { seen: encoding.slice(0, 80) });
  try {
    return await decodeAll(encoding, decoder, bytes, bytesMax);
  } catch (error) {
    if (error instanceof MillraceError) throw error;
    const isTooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    throw isTooLarge ? tooLarge(bytesMax) : fault('BAD_ENCODING', { seen: encoding }, error);
  }
}

function isZlib(bytes: Buffer): boolean {
  return bytes.length >= 2 && (bytes[0]! & 0x0f) === 8 && bytes.readUInt16BE(0) % 31 === 0;
}
