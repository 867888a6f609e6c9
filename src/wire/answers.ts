import { fault, limits, type MillraceError } from '../base/index.ts';
import type { Answer, WireRequest } from './request.ts';

const noSniff = ['X-Content-Type-Options', 'nosniff'] as const;
const noStore = ['Cache-Control', 'no-store'] as const;
/** A page that isolates itself may load what says this. */
const crossOrigin = ['Cross-Origin-Resource-Policy', 'cross-origin'] as const;

/** A transparent picture of one pixel. */
const pixel = Buffer.from('R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7', 'base64');

/** The documented answer of success; nothing in it but what is documented. */
export const accepted: Answer = {
  status: 200,
  type: 'application/json',
  body: '{}',
  headers: [],
};

export function json(value: unknown, headers: Answer['headers'] = []): Answer {
  const body = JSON.stringify(value);
  return { status: 200, type: 'application/json', body, headers: [noSniff, ...headers] };
}

/** JSON for people: indented, and kept by no cache. */
export function readableJson(value: unknown): Answer {
  return { ...uncachedJson(value), body: `${JSON.stringify(value, null, 2)}\n` };
}

/** JSON that no cache may keep: an event in a GET must arrive each time. */
export function uncachedJson(value: unknown, headers: Answer['headers'] = []): Answer {
  return json(value, [noStore, ...headers]);
}

export function pixelAnswer(headers: Answer['headers']): Answer {
  const all = [noSniff, noStore, crossOrigin, ...headers];
  return { status: 200, type: 'image/gif', body: pixel, headers: all };
}

export function redirect(location: string, headers: Answer['headers']): Answer {
  const all = [['Location', location] as const, noStore, ...headers];
  return { status: 302, type: 'application/json', body: '{}', headers: all };
}

/** A script that calls a page's function. @param callback checked by `callbackOf` */
export function script(callback: string, value: unknown, headers: Answer['headers'] = []): Answer {
  // The comment keeps the answer from being read as another kind of file by its first bytes.
  const body = `/**/${callback}(${safeInScript(JSON.stringify(value))})`;
  const all = [noSniff, noStore, crossOrigin, ...headers];
  return { status: 200, type: 'application/javascript; charset=utf-8', body, headers: all };
}

/** The parameter `callback`, undefined if there is none. @throws BAD_CALLBACK */
function callbackOf({ query }: WireRequest): string | undefined {
  const callback = query.get('callback');
  if (callback === undefined) return undefined;
  if (!isCallback(callback)) throw fault('BAD_CALLBACK');
  return callback;
}

/** A value as a script, if the request has a callback; else as JSON. */
export function scriptOrJson(
  request: WireRequest,
  value: unknown,
  headers: Answer['headers'] = [],
): Answer {
  const callback = callbackOf(request);
  return callback === undefined ? uncachedJson(value, headers) : script(callback, value, headers);
}

/** `{"error": "…"}`. */
export function refusal(error: MillraceError): Answer {
  return withStatus(json({ error: error.message }), error);
}

/** A call of the page's function with the error, if the request has a good callback. */
export function scriptRefusal(error: MillraceError, { query }: WireRequest): Answer {
  const callback = query.get('callback');
  return callback !== undefined && isCallback(callback)
    ? withStatus(script(callback, { error: error.message }), error)
    : refusal(error);
}

/** `{"error": {"name": "…", "description": "…"}}`: as in a receipt. */
export function receiptRefusal(error: MillraceError): Answer {
  return withStatus(json({ error: { name: error.code, description: error.message } }), error);
}

const retryAfterSeconds = '5';

function withStatus(answer: Answer, { status, values }: MillraceError): Answer {
  const extra: [string, string][] = [];
  if (status === 405) extra.push(['Allow', String(values.expected)]);
  if (status === 503) extra.push(['Retry-After', retryAfterSeconds]);
  if (status === 401) extra.push(['WWW-Authenticate', 'TD1']);
  return { ...answer, status, headers: [...answer.headers, ...extra] };
}

function isCallback(name: string): boolean {
  return name.length <= limits.callbackMax && /^[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*$/.test(name);
}

/** JSON that is also JavaScript, and ends no script element. */
function safeInScript(text: string): string {
  return text.replace(/[<>\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
