import type { Answer, Headers } from './request.ts';

const maxAgeSeconds = 86_400;
/** What a browser sends: a scheme and a host, no path, no user, and never a wildcard. */
const originPattern = /^(null|[a-z][a-z0-9+.-]*:\/\/[^\s,;"'<>*/\\?#@]{1,255})$/i;

/** The headers that let a page of another origin read an answer, the visitor's cookie included. */
export function corsHeaders(origin: string | undefined): Answer['headers'] {
  if (origin === undefined || !originPattern.test(origin)) return [];
  return [
    ['Access-Control-Allow-Origin', origin],
    ['Access-Control-Allow-Credentials', 'true'],
    ['Access-Control-Expose-Headers', 'Retry-After, X-Millrace-Receipt, X-Millrace-State'],
    ['Vary', 'Origin'],
  ];
}

/** The answer to `OPTIONS`: what was asked for may be sent. */
export function preflight(methods: readonly string[], headers: Headers): Answer {
  const asked = headers['access-control-request-headers'] ?? '';
  const names = asked.split(',').map((name) => name.trim());
  const isClean = names.every((name) => /^[\w!#$%&'*+.^`|~-]{1,100}$/.test(name));
  return {
    status: 204,
    type: '',
    body: '',
    headers: [
      ['Allow', methods.join(', ')],
      ['Access-Control-Allow-Methods', methods.join(', ')],
      ...(isClean ? [['Access-Control-Allow-Headers', names.join(', ')] as const] : []),
      ['Access-Control-Max-Age', String(maxAgeSeconds)],
    ],
  };
}
