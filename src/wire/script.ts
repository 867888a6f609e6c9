import { fault } from '../base/index.ts';
import { accepted, scriptOrJson } from './answers.ts';
import { names, oneRecord } from './records.ts';
import type { Outcome, WireRequest } from './request.ts';
import { submit } from './submit.ts';

/**
 * The JavaScript SDK up to 3.x: a JSON `POST`, or the record in the query — as a script that calls
 * back (`GET`), or without one when the page is left (`POST` without a body).
 */
export function readScript(request: WireRequest): Outcome {
  const isInQuery = request.method === 'GET' || request.body.length === 0;
  const body = oneRecord(isInQuery ? dataOf(request) : request.body);
  const group = { ...names(request.database, request.table), bodies: [body] };
  const parts = { dialect: 'js', groups: [group], keyParameter: 'api_key' } as const;
  const { submission, headers } = submit(request, parts);
  const answer = isInQuery ? scriptOrJson(request, {}, headers) : { ...accepted, headers };
  return { kind: 'store', submission, answer };
}

/** The record in the query's `data`. @throws MISSING_BODY, BAD_DATA */
function dataOf({ query }: WireRequest): Buffer {
  const data = query.get('data');
  if (!data) throw fault('MISSING_BODY');
  // A "+" that was not encoded has become a space.
  const text = data.replaceAll(' ', '+');
  if (!/^[\w+/-]+={0,2}$/.test(text)) throw fault('BAD_DATA', { expected: 'base64' });
  return fromCesu8(Buffer.from(text, 'base64'));
}

/**
 * UTF-8 from CESU-8, which is what the SDK sends: each half of a surrogate pair encoded by itself.
 * A half that stands alone becomes the JSON escape of it, which loses nothing.
 */
function fromCesu8(bytes: Buffer): Buffer {
  if (!bytes.includes(0xed)) return bytes;
  const parts: Buffer[] = [];
  let from = 0;
  for (let at = 0; at < bytes.length; ) {
    const high = surrogateAt(bytes, at);
    if (high === undefined || isEscaped(bytes, at)) {
      at += 1;
      continue;
    }
    const low = high < 0xdc00 ? surrogateAt(bytes, at + 3) : undefined;
    const isPair = low !== undefined && low >= 0xdc00;
    const text = isPair ? String.fromCharCode(high, low) : `\\u${high.toString(16)}`;
    parts.push(bytes.subarray(from, at), Buffer.from(text));
    at += isPair ? 6 : 3;
    from = at;
  }
  return Buffer.concat([...parts, bytes.subarray(from)]);
}

/** Whether an odd number of backslashes stands before: then it is no JSON, and must stay none. */
function isEscaped(bytes: Buffer, at: number): boolean {
  let before = at;
  while (before > 0 && bytes[before - 1] === 0x5c) before -= 1;
  return (at - before) % 2 === 1;
}

/** The half of a surrogate pair that three bytes encode; undefined if they do not. */
function surrogateAt(bytes: Buffer, at: number): number | undefined {
  const [first = 0, second = 0, third = 0] = bytes.subarray(at, at + 3);
  if (first !== 0xed || second < 0xa0 || second > 0xbf || (third & 0xc0) !== 0x80) return undefined;
  return 0xd000 | ((second & 0x3f) << 6) | (third & 0x3f);
}
