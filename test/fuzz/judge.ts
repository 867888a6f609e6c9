import type { Answer } from './framing.ts';

const mark = /zq/i;
const pixelStart = 'GIF89a';
const callback = /^\/\*\*\/[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*\(.*\)$/s;
const cookie = /^(_td_global_id=[\w-]{8,64}|_td_ssc_id=[0-9A-Z]{26}); Max-Age=\d+; [\w=;./ -]+$/;
const redirectHosts = /^(shop\.example|[^/]+\.cdn\.example)$/;

/** Settings of the server that open every way there is; `judge` knows what they allow. */
export const settings: readonly string[] = [
  '--redirect-hosts',
  'shop.example,*.cdn.example',
  '--ssc-domains',
  'shop.example',
  '--trusted-proxies',
  '127.0.0.1',
];

/** What is wrong with an answer, whatever was asked; undefined if nothing is. */
export function judge(answer: Answer): string | undefined {
  const { status, headers, body } = answer;
  if (status >= 500 && status !== 503) return `the server failed: ${status} ${body.slice(0, 300)}`;
  if (status === 503 && !headers.has('retry-after')) return 'a 503 without Retry-After';
  const type = headers.get('content-type') ?? '';
  return judgeHeaders(headers) ?? judgeBody(type, body);
}

function judgeHeaders(headers: Answer['headers']): string | undefined {
  for (const name of headers.keys()) {
    if (mark.test(name)) return `a header of the sender's making: ${name}`;
  }
  const location = headers.get('location');
  if (location !== undefined) {
    const url = URL.canParse(location) ? new URL(location) : undefined;
    const isRight = url && /^https?:$/.test(url.protocol) && redirectHosts.test(url.hostname);
    if (!isRight || url.username !== '') return `a redirect to ${location}`;
  }
  const bad = headers.get('set-cookie')?.split('\n');
  const strange = bad?.find((one) => !cookie.test(one));
  if (strange !== undefined) return `a strange cookie: ${strange}`;
  const origin = headers.get('access-control-allow-origin');
  if (origin !== undefined && /[\s,;"<>*]/.test(origin)) return `a strange origin: ${origin}`;
  return undefined;
}

/** Where text of the sender may come back: in JSON, and in the call of a page's function. */
function judgeBody(type: string, body: string): string | undefined {
  if (body === '') return undefined;
  if (type === 'application/json') return isJson(body) ? undefined : 'JSON that is none';
  if (type === 'application/javascript; charset=utf-8') {
    if (!callback.test(body)) return `no call of a function: ${body.slice(0, 200)}`;
    return /[<>]/.test(body) ? `markup in a script: ${body.slice(0, 200)}` : undefined;
  }
  if (type === 'image/gif' && !body.startsWith(pixelStart)) return 'a picture that is none';
  return mark.test(body) ? `the sender's text as ${type || 'no type'}` : undefined;
}

function isJson(body: string): boolean {
  try {
    JSON.parse(Buffer.from(body, 'latin1').toString('utf8'));
    return true;
  } catch {
    return false;
  }
}
