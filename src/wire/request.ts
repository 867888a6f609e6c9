import { isUtf8 } from 'node:buffer';
import { fault, limits } from '../base/index.ts';
import { fingerprintOf, type Submission } from '../event/index.ts';

/** The headers that say something of an event or of its answer. No other one is looked at. */
export const headersRead = [
  'access-control-request-headers',
  'authorization',
  'content-encoding',
  'content-type',
  'cookie',
  'idempotency-key',
  'origin',
  'prefer',
  'referer',
  'user-agent',
  'x-forwarded-for',
  'x-td-write-key',
  'x_td_write_key',
] as const;

/** By lower-case name. */
export type Headers = { readonly [Name in (typeof headersRead)[number]]?: string | undefined };

/** One HTTP request, its body decoded. */
export type WireRequest = {
  readonly method: string;
  /** Names in the path, percent-decoded, not yet checked. */
  readonly database: string;
  readonly table: string;
  readonly query: Query;
  readonly headers: Headers;
  readonly body: Buffer;
  readonly receivedAtMs: number;
  /** Address of the sender, behind proxies that are trusted. */
  readonly clientAddress: string;
  readonly chance: (count: number) => Buffer;
  readonly settings: WireSettings;
};

export type WireSettings = {
  /** Whether visitors get an id across sites, in a third-party cookie. */
  readonly globalId: 'on' | 'off';
  /** Hosts that `td_redirect` may lead to: `example.com`, or `*.example.com` for all below it. */
  readonly redirectHosts: readonly string[];
  /** Domains that `/get_cookie_id` sets cookies for. */
  readonly sscDomains: readonly string[];
};

export type Answer = {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
  /** Besides those of every answer. */
  readonly headers: readonly (readonly [name: string, value: string])[];
};

/** What is to be done for a request. */
export type Outcome =
  | { readonly kind: 'answer'; readonly answer: Answer }
  /** Answer when it is on disk. */
  | { readonly kind: 'store'; readonly submission: Submission; readonly answer: Answer }
  /** Say what it would become. */
  | { readonly kind: 'explain'; readonly submission: Submission };

/** Parameters of a query in their order. */
export class Query {
  readonly all: readonly (readonly [name: string, value: string])[];

  /** @param search the text behind `?`, as it came: one character a byte. */
  constructor(search: string) {
    const parts = search.split('&').filter((part) => part !== '');
    this.all = parts.map((part) => {
      const at = part.indexOf('=');
      return at === -1
        ? [decoded(part), '']
        : [decoded(part.slice(0, at)), decoded(part.slice(at + 1))];
    });
  }

  /** The first value; undefined if there is none. */
  get(name: string): string | undefined {
    return this.all.find(([other]) => other === name)?.[1];
  }
}

/** What is not UTF-8 after decoding stays as it was written, so that nothing is lost. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(utf8Of(text.replaceAll('+', ' ')));
  } catch {
    return utf8Of(text);
  }
}

/** Text whose characters are bytes: bytes beyond ASCII are UTF-8 if they can be. */
export function utf8Of(text: string): string {
  // oxlint-disable-next-line no-control-regex
  if (/^[\x00-\x7f]*$/.test(text)) return text;
  const bytes = Buffer.from(text, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : text;
}

/** A segment of a path. What does not decode stays as it is; the check of names refuses it. */
export function decodedSegment(segment: string): string {
  if (!segment.includes('%')) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/**
 * The fingerprint of the write key. Headers win over the query, the newest form over older ones.
 * @throws MISSING_KEY, BAD_KEY_FORM
 */
export function keyOf({ headers, query }: WireRequest, parameter = 'td_write_key'): Buffer {
  const key =
    /^TD1\s+(.+)$/i.exec(headers.authorization ?? '')?.[1] ||
    headers['x-td-write-key'] ||
    headers.x_td_write_key ||
    query.get(parameter);
  if (!key) throw fault('MISSING_KEY', { parameter });
  const keyBytes = Buffer.byteLength(key);
  if (keyBytes > limits.keyBytesMax) {
    throw fault('BAD_KEY_FORM', { seen: keyBytes, expected: limits.keyBytesMax });
  }
  return fingerprintOf(key);
}

/** Media type of the body, without its parameters. */
export function mediaType({ headers }: WireRequest): string {
  return (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

export function cookieOf({ headers }: WireRequest, name: string): string | undefined {
  const parts = (headers.cookie ?? '').split(';').map((part) => part.trim());
  return parts.find((part) => part.startsWith(`${name}=`))?.slice(name.length + 1);
}
