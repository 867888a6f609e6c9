import { fault } from '../base/index.ts';
import { scriptOrJson } from './answers.ts';
import { cookieOf, type Outcome, type WireRequest } from './request.ts';

const cookieName = '_td_global_id';
/** One year: browsers cut what is longer. */
const cookieSeconds = 31_536_000;
const sscCookieName = '_td_ssc_id';
/** Two years, as documented; browsers cut it to what they allow. */
const sscCookieSeconds = 63_072_000;

/** `GET /`, `/js/v3/global_id`, `/js/v3/enable_global_id`: the visitor's id across sites. */
export function readGlobalId(request: WireRequest): Outcome {
  const globalId = globalIdOf(request);
  if (globalId === undefined) throw fault('GLOBAL_ID_OFF');
  const answer = scriptOrJson(request, { global_id: globalId }, [cookieHeader(globalId)]);
  return { kind: 'answer', answer };
}

/** The id in the visitor's cookie, or a new one; undefined if such ids are switched off. */
export function globalIdOf(request: WireRequest): string | undefined {
  if (request.settings.globalId === 'off') return undefined;
  return knownGlobalId(request) ?? uuid(request.chance(16));
}

/** The id in the visitor's cookie. */
export function knownGlobalId(request: WireRequest): string | undefined {
  if (request.settings.globalId === 'off') return undefined;
  const given = cookieOf(request, cookieName);
  return given !== undefined && /^[\w-]{8,64}$/.test(given) ? given : undefined;
}

/** Only with SameSite=None and Secure does a browser send it from pages of other sites. */
export function cookieHeader(globalId: string): readonly [string, string] {
  const attributes = `Max-Age=${cookieSeconds}; Path=/; Secure; HttpOnly; SameSite=None`;
  return ['Set-Cookie', `${cookieName}=${globalId}; ${attributes}`];
}

/** `GET /get_cookie_id`: an id that the page's own domain keeps, readable by its scripts. */
export function readSsc(request: WireRequest): Outcome {
  const domain = request.query.get('cookie_domain')?.replace(/^\./, '').toLowerCase() ?? '';
  if (!request.settings.sscDomains.includes(domain)) throw fault('COOKIE_DOMAIN');
  const given = cookieOf(request, sscCookieName);
  const isGood = given !== undefined && /^[0-9A-HJKMNP-TV-Z]{26}$/.test(given);
  const id = isGood ? given : ulid(request.receivedAtMs, request.chance(10));
  const attributes = `Max-Age=${sscCookieSeconds}; Domain=${domain}; Path=/; Secure; SameSite=Lax`;
  const header = ['Set-Cookie', `${sscCookieName}=${id}; ${attributes}`] as const;
  return { kind: 'answer', answer: scriptOrJson(request, { td_ssc_id: id }, [header]) };
}

/** A random UUID, version 4, from 16 bytes. */
export function uuid(bytes: Buffer): string {
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const crockford = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** A ULID: 48 bits of time and 80 of chance, in 26 characters. */
function ulid(nowMs: number, chance: Buffer): string {
  let bits = (BigInt(nowMs) << 80n) | BigInt(`0x${chance.toString('hex')}`);
  let text = '';
  for (let count = 0; count < 26; count += 1) {
    text = (crockford[Number(bits & 31n)] ?? '') + text;
    bits >>= 5n;
  }
  return text;
}
