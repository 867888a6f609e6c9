import { chunked, encoded, oddBody } from './bodies.ts';
import type { Dice } from './dice.ts';
import { marker, type Request } from './seeds.ts';

/** A request as bytes. `status` is known when nothing was changed. */
export type Made = { readonly bytes: Buffer; readonly status: number | undefined };

/**
 * One request to send: as clients send them, bent in its parts, torn in its bytes, or noise. What
 * is torn ends a connection mostly, so it is the last there.
 */
export function makeRequest(seeds: readonly Request[], dice: Dice, isLast: boolean): Made {
  const seed = dice.pick(seeds);
  const kind = dice.integer(1, isLast ? 100 : 45);
  if (kind <= 20) return { bytes: written(seed), status: seed.status };
  if (kind <= 65) return { bytes: written(bent(seed, dice)), status: undefined };
  if (kind <= 85) return { bytes: torn(written(seed), seeds, dice), status: undefined };
  if (kind <= 97) return { bytes: torn(written(bent(seed, dice)), seeds, dice), status: undefined };
  const noise = dice.bytes(dice.integer(1, 400));
  return { bytes: dice.oneIn(2) ? noise : Buffer.concat([tls, noise]), status: undefined };
}

const tls = Buffer.from('1603010200010001fc0303', 'hex');

/** The bytes of a request; its length is said unless its headers say something of it already. */
export function written({ method, target, version, headers, body }: Request): Buffer {
  const isSaid = headers.some(([name]) => /^(content-length|transfer-encoding)$/i.test(name));
  const isBare = body.length === 0 && method !== 'POST';
  const length = isSaid || isBare ? [] : [['Content-Length', String(body.length)] as const];
  const all = [...headers, ...length].map(([name, value]) => `${name}: ${value}\r\n`);
  const head = Buffer.from(`${method} ${target} ${version}\r\n${all.join('')}\r\n`, 'latin1');
  return Buffer.concat([head, body]);
}

/** Changes some parts of a request. */
export function bent(seed: Request, dice: Dice): Request {
  let request = seed;
  for (let count = dice.integer(1, 3); count > 0; count -= 1) {
    request = dice.pick(bends)(request, dice);
  }
  return request;
}

type Bend = (request: Request, dice: Dice) => Request;

const bendBody: Bend = (request, dice) => ({ ...request, body: oddBody(dice) });

const bendEncoding: Bend = (request, dice) => {
  const { said, bytes } = encoded(request.body, dice);
  const headers = [...request.headers, ['Content-Encoding', said] as const];
  return { ...request, headers, body: bytes };
};

const bendChunks: Bend = (request, dice) => {
  const said = dice.oneIn(5) ? dice.pick(transfersSaid) : 'chunked';
  const headers = [...request.headers, ['Transfer-Encoding', said] as const];
  return { ...request, headers, body: chunked(request.body, dice) };
};
const transfersSaid = ['Chunked', 'gzip, chunked', 'identity', 'xchunked', ' chunked', 'zq', ''];

const bendHeader: Bend = (request, dice) => {
  const { headers } = request;
  const kind = dice.integer(1, 6);
  if (kind === 1) return { ...request, headers: headers.filter(() => !dice.oneIn(3)) };
  if (kind === 2 && headers.length > 0) {
    return { ...request, headers: [...headers, dice.pick(headers)] };
  }
  if (kind === 3 && dice.oneIn(5)) {
    const count = dice.integer(90, 2_000);
    const many = Array.from({ length: count }, (_, at) => [`X-${at}`, 'zq'] as const);
    return { ...request, headers: [...headers, ...many] };
  }
  const [name, values] = dice.pick(oddHeaders);
  const value = dice.pick(values);
  const kept = dice.oneIn(2) ? headers : headers.filter(([other]) => other !== name);
  return { ...request, headers: [...kept, [name, value]] };
};

const long = 'l'.repeat(20_000);
const markers = [marker, `"${marker}`, `${marker}\xff\xfe`, long, '', ' ', '\t', ','];
const oddHeaders: readonly (readonly [name: string, values: readonly string[]])[] = [
  ['Content-Length', ['0', '1', '5', '007', '+5', '-1', '5, 5', '1e3', '99999999999999999999', '']],
  ['Transfer-Encoding', ['chunked', 'chunked, chunked', ...transfersSaid]],
  ['Content-Encoding', ['gzip', 'br', 'zstd', 'deflate', 'gzip, gzip', ...markers]],
  [
    'Content-Type',
    [
      'application/x-ndjson',
      'application/vnd.treasuredata.v1.single+json',
      'application/vnd.treasuredata.v1.mobile+json; charset=utf-16',
      'text/html',
      'multipart/form-data; boundary=zq',
      ...markers,
    ],
  ],
  ['Origin', ['null', 'https://shop.example', `https://${marker}`, 'a://b\xe4', ...markers]],
  ['Referer', ['https://shop.example/a', 'http://[::1', ...markers]],
  ['Cookie', ['_td_global_id=zq', `_td_global_id=${long}`, '_td_ssc_id=;;=;', '=', ...markers]],
  ['Authorization', ['TD1', 'TD1 ', 'TD1 1/none', 'td1   x', 'Basic enE6eno=', ...markers]],
  ['X-TD-Write-Key', ['1/none', `1/${'a'.repeat(254)}`, `1/${'a'.repeat(255)}`, ...markers]],
  ['X_TD_Write_Key', ['1/none', ...markers]],
  ['X-Forwarded-For', ['1.2.3.4', '::1, 1.2.3.4:80', '[::1]:9', '1,'.repeat(9_000), ...markers]],
  ['Idempotency-Key', ['zq', 'i'.repeat(255), 'i'.repeat(256), ...markers]],
  ['User-Agent', ['Mozilla/5.0 (X11; Linux x86_64) Firefox/115.0', ...markers]],
  ['Host', ['a', 'a b', '[', '127.0.0.1:1', ...markers]],
  ['Expect', ['100-continue', '200-ok', ...markers]],
  ['Connection', ['close', 'keep-alive', 'Upgrade', 'upgrade, close', 'Transfer-Encoding', marker]],
  ['Upgrade', ['websocket', 'h2c', marker]],
  ['HTTP2-Settings', ['AAMAAABkAAQAoAAAAAIAAAAA']],
  ['Access-Control-Request-Headers', ['a, b', 'a\tb', ...markers]],
  ['Access-Control-Request-Method', ['POST', ...markers]],
  ['Set-Cookie', ['a=b', 'c=d']],
  ['X-HTTP-Method-Override', ['DELETE']],
  ['__proto__', ['zq']],
  ['constructor', ['zq']],
];

const bendLine: Bend = (request, dice) => {
  if (dice.oneIn(5)) return { ...request, version: dice.pick(versions) };
  return { ...request, method: dice.pick(methods) };
};
const versions = ['HTTP/1.0', 'HTTP/1.1 ', 'HTTP/1.2', 'HTTP/2.0', 'HTTP/0.9', '', 'http/1.1'];
const methods = [
  'GET',
  'POST',
  'HEAD',
  'OPTIONS',
  'PUT',
  'PATCH',
  'DELETE',
  'TRACE',
  'CONNECT',
  'QUERY',
  'get',
  'PROPFIND',
  'M-SEARCH',
  'PRI',
  'ZQ',
  'SOURCE',
  marker,
  '',
];

const bendPath: Bend = (request, dice) => {
  const at = request.target.indexOf('?');
  const path = at === -1 ? request.target : request.target.slice(0, at);
  return { ...request, target: bentPath(path, dice) + request.target.slice(path.length) };
};

function bentPath(path: string, dice: Dice): string {
  const segments = path.split('/');
  const at = dice.integer(1, Math.max(1, segments.length - 1));
  const kind = dice.integer(1, 8);
  if (kind <= 3) return segments.toSpliced(at, 1, dice.pick(oddSegments)).join('/');
  if (kind === 4) return segments.toSpliced(at, 0, dice.pick(oddSegments)).join('/');
  if (kind === 5) return segments.toSpliced(at, 1).join('/');
  if (kind === 6) return `${dice.pick(['http://zq.example', 'HTTPS://a', 'ftp://a', '//'])}${path}`;
  if (kind === 7) {
    const code = path.charCodeAt(dice.integer(0, path.length - 1)) || 0x2f;
    return path.replaceAll(String.fromCharCode(code), `%${code.toString(16)}`);
  }
  return dice.pick([`${path}/`, `${path}//`, path.toUpperCase(), '*', '', path + path, 'zq']);
}

const oddSegments = [
  '',
  '.',
  '..',
  '%2e%2e',
  '%2F',
  '%00',
  '%',
  '%zz',
  '%ed%a0%80',
  '%c0%af',
  'ab',
  'a'.repeat(255),
  'a'.repeat(256),
  'a'.repeat(60_000),
  'main',
  'millrace',
  'temp',
  'information_schema',
  '__proto__',
  'constructor',
  'select',
  '123',
  '\xc3\xa4\xc3\xa4',
  '\xff\xff',
  'fuzz.events',
  encodeURIComponent(marker),
  marker,
  '%0d%0aX-Zq:1',
  '\x01\x02',
  'fuzz;a=b',
  'events#zq',
];

const bendQuery: Bend = (request, dice) => {
  const { target } = request;
  const at = target.indexOf('?');
  const kind = dice.integer(1, 6);
  if (kind === 1 && at !== -1) return { ...request, target: target.slice(0, at) };
  if (kind === 2 && at !== -1) return { ...request, target: target + target.slice(at) };
  const repeats = kind === 3 && dice.oneIn(10) ? dice.integer(10, 3_000) : 1;
  const odd = Array.from({ length: repeats }, () => dice.pick(oddParameters));
  const parameters = dice.oneIn(2) ? odd.join('&') : odd.toReversed().join('&');
  return { ...request, target: `${target}${at === -1 ? '?' : '&'}${parameters}` };
};

function base64(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString('base64'));
}

const oddParameters = [
  '',
  '=',
  '&&',
  'a',
  '%',
  '%=%',
  '%zz=%f',
  'a=%ed%a0%80',
  'a=\xff',
  '+=+',
  '__proto__=1',
  'a=%00',
  'td_format=pixel',
  'td_format=zq',
  'td_redirect=https://a.cdn.example/%0d%0aX-Zq:1',
  'td_redirect=//shop.example',
  'td_redirect=javascript:zq',
  'td_redirect=https://shop.example@zq',
  'td_redirect=https://shop.example%23.zq/<script>zq',
  'td_redirect=http://shop.example:1/\xff',
  'td_redirect=https%3A%2F%2Fshop.example%5Czq',
  'td_redirect=https://shop.example/?td_global_id=',
  'td_write_key=',
  'td_write_key=1%2Fnone',
  'api_key=1/none',
  'td_record_time=zq',
  'time=-1',
  `time=${'9'.repeat(40)}`,
  'modified=1',
  'cookie_domain=.shop.example',
  'cookie_domain=zq',
  'callback=',
  'callback=zq',
  'callback=<script>zq',
  'callback=a.b.c',
  'callback=alert(1)//zq',
  `callback=${'a'.repeat(128)}`,
  `callback=${'a'.repeat(129)}`,
  'callback=a%0d%0a',
  'callback=a%00',
  `data=${base64(`{"${marker}":"${marker}"}`)}`,
  `data=${base64('\ufeff{}')}`,
  'data=%%%',
  'data=7',
  `data=${base64('{"a":')}`,
  'data=7aCA7bCA',
  'data=eyLtoIAiOjF9',
  `data=${base64('[1]')}`,
  `a=${encodeURIComponent(marker)}`,
  `${marker}=1`,
  'td_ip=td_ip',
  `a=${'q'.repeat(5_000)}`,
];

const bends: readonly Bend[] = [
  bendBody,
  bendBody,
  bendEncoding,
  bendChunks,
  bendHeader,
  bendHeader,
  bendHeader,
  bendLine,
  bendPath,
  bendQuery,
];

/** Changes some bytes, whatever they mean. */
function torn(whole: Buffer, seeds: readonly Request[], dice: Dice): Buffer {
  let bytes = whole;
  for (let count = dice.integer(1, 4); count > 0; count -= 1) bytes = tornOnce(bytes, seeds, dice);
  return bytes;
}

function tornOnce(bytes: Buffer, seeds: readonly Request[], dice: Dice): Buffer {
  const at = dice.integer(0, bytes.length);
  const to = Math.min(bytes.length, at + dice.integer(1, dice.oneIn(4) ? 200 : 4));
  const [before, cut, after] = [bytes.subarray(0, at), bytes.subarray(at, to), bytes.subarray(to)];
  switch (dice.integer(1, 7)) {
    case 1:
    case 2: {
      const flipped = Buffer.from(bytes);
      if (at < flipped.length) flipped[at] = (flipped[at] ?? 0) ^ (1 << dice.integer(0, 7));
      return flipped;
    }
    case 3:
      return Buffer.concat([before, after]);
    case 4:
      return Buffer.concat([before, dice.bytes(dice.integer(1, 8)), cut, after]);
    case 5:
      return Buffer.concat([before, cut, cut, after]);
    case 6:
      return before;
    default: {
      const other = written(dice.pick(seeds));
      return Buffer.concat([before, other.subarray(dice.integer(0, other.length))]);
    }
  }
}
