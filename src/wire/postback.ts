import { limits } from '../base/index.ts';
import type { Group } from '../event/index.ts';
import { accepted, json, pixelAnswer, redirect, uncachedJson } from './answers.ts';
import { bodyRecords, mustBeFewEnough, names } from './records.ts';
import { mediaType, type Outcome, type WireRequest } from './request.ts';
import { submit } from './submit.ts';

/** Parameters of a query that steer, and are no columns. */
const steering = new Set(['td_write_key', 'td_format', 'td_redirect']);

/** Postback: `POST` with JSON, `GET` and `<a ping>` with a query. */
export function readPostback(request: WireRequest): Outcome {
  const isPixel = request.query.get('td_format') === 'pixel';
  return request.method === 'GET' || isPixel ? readQuery(request, isPixel) : readPost(request);
}

/** A dry run: what a `POST` of the same would become. */
export function readDebug(request: WireRequest): Outcome {
  const { submission, count = 1 } = submitBody(request);
  mustBeFewEnough(count, limits.explainRecordsMax);
  return { kind: 'explain', submission };
}

/** The specification's own mock: the documented success, whatever is sent. */
export function readMock(): Outcome {
  return { kind: 'answer', answer: accepted };
}

function readPost(request: WireRequest): Outcome {
  const { submission, headers, count } = submitBody(request);
  if (count === undefined && headers.length === 0) {
    return { kind: 'store', submission, answer: accepted };
  }
  const answer =
    count === undefined ? { ...accepted, headers } : json({ accepted: count }, headers);
  return { kind: 'store', submission, answer };
}

/** `count` is undefined for the documented form, which is one record. */
function submitBody(request: WireRequest) {
  const { bodies, mayAsk, isMany } = bodyRecords(request.body, mediaType(request));
  const group = { ...names(request.database, request.table), bodies };
  const parts = { dialect: 'postback', groups: [group], mayAsk } as const;
  const submitted = submit(request, parts);
  return { ...submitted, count: isMany ? bodies.length : undefined };
}

/** Each parameter that does not steer is a string of the record, as often as it is given. */
function readQuery(request: WireRequest, isPixel: boolean): Outcome {
  const members = request.query.all
    .filter(([name]) => !steering.has(name))
    .map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const body = Buffer.from(`{${members.join(',')}}`);
  const group: Group = { ...names(request.database, request.table), bodies: [body] };
  const { submission, headers } = submit(request, { dialect: 'query', groups: [group] });
  const target = request.query.get('td_redirect');
  const location = target && redirectTo(target, request, submission.context.globalId);
  if (location) return { kind: 'store', submission, answer: redirect(location, headers) };
  const all = target === undefined ? headers : [...headers, notRedirected];
  const answer = isPixel ? pixelAnswer(all) : uncachedJson({}, all);
  return { kind: 'store', submission, answer };
}

const notRedirected = ['X-Millrace-Warning', 'td_redirect: not to a host of the list'] as const;

/**
 * Where `td_redirect` leads, if to a host of the list. To any other host it would be an open
 * redirect: the event is kept all the same, and the answer is the one without it.
 */
function redirectTo(
  target: string,
  { settings }: WireRequest,
  globalId: string | undefined,
): string | undefined {
  if (!URL.canParse(target)) return undefined;
  const url = new URL(target);
  const isWeb = url.protocol === 'https:' || url.protocol === 'http:';
  if (!isWeb || url.username !== '' || url.password !== '') return undefined;
  if (!settings.redirectHosts.some((host) => matches(host, url.hostname))) return undefined;
  return url.href.replace(
    /([?&]td_global_id=)(?:td_global_id)?(?=&|#|$)/g,
    (whole, name: string) => (globalId === undefined ? whole : name + globalId),
  );
}

function matches(pattern: string, host: string): boolean {
  return pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern;
}
