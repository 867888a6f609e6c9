import { hashOf, limits } from '../base/index.ts';
import { type Headers, headersRead } from '../wire/index.ts';

/*
 * The grammar of the hot lane, far narrower than that of HTTP:
 *
 *   POST <path> HTTP/1.1\r\n            path: / and letters, digits, _ and / alone, no query
 *   (<name>:[ ]<value>\r\n)*            name: letters, digits and -; value: visible ASCII and, not
 *   \r\n                                at its ends, spaces; never empty
 *   <body>                              as long as the one Content-Length says
 *
 * What frames a request another way, or asks for more than an answer, is not in it: no
 * Transfer-Encoding, Content-Encoding, Expect or Upgrade, no Connection but keep-alive, and none of
 * the headers that are read twice. All that is not in the grammar is Node's to understand.
 */

/** A request that was understood, in the bytes it was found in. */
export type StrictRequest = {
  readonly path: string;
  readonly headers: Headers;
  /** Where the digits of its length stand in its head, and end. */
  readonly lengthAt: number;
  readonly lengthEnd: number;
  readonly bodyAt: number;
  /** Behind its body, which may be yet to come. */
  readonly end: number;
};

/** What a header means here: it is read, frames the request, or is left to Node. */
type Use = 'read' | 'length' | 'connection' | 'leave';

const uses = new Map<string, Use>([
  ...headersRead.map((name): [string, Use] => [name, 'read']),
  ['content-length', 'length'],
  ['connection', 'connection'],
  ...['content-encoding', 'transfer-encoding', 'te', 'trailer', 'expect', 'upgrade', 'keep-alive']
    .concat('proxy-connection', 'http2-settings')
    .map((name): [string, Use] => [name, 'leave']),
]);
/** By its length alone most headers are none of these. */
const usedLengths = new Uint8Array(limits.hotHeadBytesMax);
for (const name of uses.keys()) usedLengths[name.length] = 1;

const pathBytes = bytesOf(/[A-Za-z0-9_/]/);
const nameBytes = bytesOf(/[A-Za-z0-9-]/);
const method = Buffer.from('POST /');
const version = Buffer.from(' HTTP/1.1\r\n');
const [cr, lf, space, colon, tilde] = [0x0d, 0x0a, 0x20, 0x3a, 0x7e];
const [zero, nine] = [0x30, 0x39];
const lengthPattern = /^(0|[1-9]\d{0,5})$/;

/**
 * Reads the head of the request that begins at `at`.
 * @returns 'more' if its rest is yet to come, 'other' if it is not of the grammar
 */
export function readStrict(bytes: Buffer, at: number): StrictRequest | 'more' | 'other' {
  // A head that is longer is not looked at to its end.
  const end = Math.min(bytes.length, at + limits.hotHeadBytesMax);
  const ofShort = bytes.length > end ? 'other' : 'more';
  const began = compare(bytes, at, end, method);
  if (began !== 'same') return began === 'other' ? 'other' : ofShort;
  const pathFrom = at + method.length - 1;
  let place = pathFrom;
  while (place < end && pathBytes[bytes[place]!] === 1) place += 1;
  const path = bytes.toString('latin1', pathFrom, place);
  const versioned = compare(bytes, place, end, version);
  if (versioned !== 'same') return versioned === 'other' ? 'other' : ofShort;
  place += version.length;

  const headers: Record<string, string> = {};
  let length = -1;
  let [lengthAt, lengthEnd] = [0, 0];
  let isConnectionSeen = false;
  for (let count = 0; count < limits.headersMax; count += 1) {
    const nameAt = place;
    while (place < end && nameBytes[bytes[place]!] === 1) place += 1;
    if (place >= end) return ofShort;
    if (place === nameAt) break;
    if (bytes[place] !== colon) return 'other';
    const nameEnd = place;
    place += bytes[place + 1] === space ? 2 : 1;
    const valueAt = place;
    while (place < end && bytes[place]! >= space && bytes[place]! <= tilde) place += 1;
    if (place + 1 >= end) return ofShort;
    if (bytes[place] !== cr || bytes[place + 1] !== lf) return 'other';
    if (place === valueAt || bytes[valueAt] === space || bytes[place - 1] === space) return 'other';
    const valueEnd = place;
    place += 2;
    if (usedLengths[nameEnd - nameAt] === 0) continue;
    const name = bytes.toString('latin1', nameAt, nameEnd).toLowerCase();
    const use = uses.get(name);
    if (use === undefined) continue;
    const value = bytes.toString('latin1', valueAt, valueEnd);
    if (use === 'read') {
      if (name in headers) return 'other';
      headers[name] = value;
    } else if (use === 'length') {
      if (length >= 0 || !lengthPattern.test(value)) return 'other';
      length = Number(value);
      lengthAt = valueAt - at;
      lengthEnd = valueEnd - at;
    } else {
      if (use === 'leave' || isConnectionSeen || value.toLowerCase() !== 'keep-alive')
        return 'other';
      isConnectionSeen = true;
    }
  }
  if (place + 1 >= end) return bytes[place] === cr ? ofShort : 'other';
  if (bytes[place] !== cr || bytes[place + 1] !== lf || length < 0) return 'other';
  const bodyAt = place + 2;
  return { path, headers, lengthAt, lengthEnd, bodyAt, end: bodyAt + length };
}

/** Whether the bytes at a place are these, as far as they have come. */
function compare(
  bytes: Buffer,
  at: number,
  end: number,
  expected: Buffer,
): 'same' | 'more' | 'other' {
  const count = Math.min(expected.length, end - at);
  for (let index = 0; index < count; index += 1) {
    if (bytes[at + index] !== expected[index]) return 'other';
  }
  return count === expected.length ? 'same' : 'more';
}

function bytesOf(pattern: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => {
    return pattern.test(String.fromCharCode(byte)) ? 1 : 0;
  });
}

/** A hash of the path of a request that begins at `at`, as far as it has come. */
export function pathHashAt(bytes: Buffer, at: number): number {
  const from = at + method.length - 1;
  const end = Math.min(bytes.length, from + limits.hotHeadKeptBytesMax);
  let place = from;
  while (place < end && bytes[place] !== space) place += 1;
  return hashOf(bytes, from, place);
}

/** A head that was read, to be known again: those of a sender differ in their length alone. */
export class KnownHead {
  readonly request: StrictRequest;
  readonly #bytes: Buffer;

  /** @param at where its request began. */
  constructor(bytes: Buffer, at: number, request: StrictRequest) {
    this.request = request;
    this.#bytes = Buffer.from(bytes.subarray(at, request.bodyAt));
  }

  /** Whether it is worth to be kept. */
  static isWorthy(at: number, { bodyAt, end }: StrictRequest): boolean {
    return bodyAt - at <= limits.hotHeadKeptBytesMax && end > bodyAt;
  }

  get length(): number {
    return this.#bytes.length;
  }

  /**
   * The length of the body behind a head that differs in nothing but that from this one, and that
   * in digits alone; undefined if it is another, or has not come whole.
   */
  bodyLengthAt(bytes: Buffer, at: number): number | undefined {
    const head = this.#bytes;
    const { lengthAt, lengthEnd } = this.request;
    if (bytes.length - at < head.length || bytes[at + lengthAt] === zero) return undefined;
    for (let index = 0; index < lengthAt; index += 1) {
      if (bytes[at + index] !== head[index]) return undefined;
    }
    let length = 0;
    for (let index = lengthAt; index < lengthEnd; index += 1) {
      const byte = bytes[at + index]!;
      if (byte < zero || byte > nine) return undefined;
      length = 10 * length + byte - zero;
    }
    for (let index = lengthEnd; index < head.length; index += 1) {
      if (bytes[at + index] !== head[index]) return undefined;
    }
    return length;
  }
}
