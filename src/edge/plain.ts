import { MillraceError } from '../base/index.ts';
import { SingleEncoder, type Submission } from '../event/index.ts';
import type { KeyEntry } from '../keys/index.ts';
import { accepted, type Found, type Route, type WireRequest } from '../wire/index.ts';

/**
 * What the head of a `POST` says of every request with that head whose body is plain, so that it
 * is not read again for each.
 */
export type PlainHead = {
  readonly found: Found;
  /** One with that head. */
  readonly request: WireRequest;
  /** What is to be stored, but for its time and its body. */
  readonly submission: Submission;
  readonly encoder: SingleEncoder;
  readonly isPlainBody: NonNullable<Route['isPlainBody']>;
  /** Its key, if that has no rules, … */
  key: KeyEntry | undefined;
  /** … as of these keys: see `KeyPolicy`. */
  keysVersion: number;
};

const leastBody = Buffer.from('{}');

/**
 * Learns it by reading a request with the least of bodies.
 * @returns undefined if each request with that head is to be read by itself
 */
export function readPlainHead(found: Found, head: WireRequest): PlainHead | undefined {
  const { isPlainBody } = found.route;
  const { origin, prefer } = head.headers;
  if (!isPlainBody || origin !== undefined || prefer !== undefined) return undefined;
  const request = { ...head, body: leastBody };
  try {
    const outcome = found.route.read(request);
    if (outcome.kind !== 'store' || outcome.answer !== accepted) return undefined;
    const { submission } = outcome;
    if (!SingleEncoder.fits(submission)) return undefined;
    const encoder = new SingleEncoder(submission);
    return { found, request, submission, encoder, isPlainBody, key: undefined, keysVersion: -1 };
  } catch (error) {
    // It will be refused, with a body of its own.
    if (error instanceof MillraceError) return undefined;
    throw error;
  }
}
