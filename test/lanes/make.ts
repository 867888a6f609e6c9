import { limits } from '../../src/base/index.ts';
import { oddBody } from '../fuzz/bodies.ts';
import type { Dice } from '../fuzz/dice.ts';
import { makeRequest } from '../fuzz/mutate.ts';
import { type Request, seedRequests } from '../fuzz/seeds.ts';
import { keys, type Sent } from './lane.ts';

/** A request as lines, so that each can be written in another way. */
type Lines = {
  line: string;
  /** With their ends. */
  headers: string[];
  /** What stands between the last header and the body. */
  empty: string;
  body: string;
};

export type Case = Sent & { readonly requests: number };

const seeds = seedRequests(keys);
const simple = seeds.filter(({ method, target, headers }) => {
  const isEncoded = headers.some(([name]) => /^(content|transfer)-encoding$/i.test(name));
  return method === 'POST' && !target.includes('?') && !isEncoded;
});

/** Requests of one connection: most are of the strict grammar, or one step beside it. */
export function makeCase(dice: Dice): Case {
  const requests = dice.oneIn(3) ? 1 : dice.integer(2, 8);
  const isAlike = dice.oneIn(2);
  const first = dice.pick(simple);
  const made = Array.from({ length: requests }, (_, index) =>
    // As a sender does, or one behind a proxy that many share.
    one(isAlike ? first : dice.pick(simple), dice, index === requests - 1),
  );
  const whole = Buffer.concat(made);
  const sent = dice.oneIn(8) ? whole.subarray(0, dice.integer(0, whole.length)) : whole;
  return { requests, pieces: cut(sent, dice), turns: dice.pick([0, 0, 1, 2, 5]) };
}

/** What is no request ends a connection, so most that are odd are the last. */
function one(seed: Request, dice: Dice, isLast: boolean): Buffer {
  const kind = dice.integer(1, 100);
  if (kind <= 6) return makeRequest(seeds, dice, isLast).bytes;
  const request = linesOf(seed);
  // Its length is of as many digits, mostly.
  if (dice.oneIn(3)) setBody(dice.pick([pad, spaced])(request.body.length, dice), request);
  if (kind <= (isLast ? 20 : 80)) return bytesOf(request);
  for (let count = dice.oneIn(4) ? 2 : 1; count > 0; count -= 1) dice.pick(steps)(request, dice);
  const bytes = bytesOf(request);
  return dice.oneIn(8) ? flipped(bytes, dice) : bytes;
}

function linesOf({ target, headers, body }: Request): Lines {
  return {
    line: `POST ${target} HTTP/1.1\r\n`,
    headers: [...headers, ['Content-Length', String(body.length)] as const].map(
      ([name, value]) => `${name}: ${value}\r\n`,
    ),
    empty: '\r\n',
    body: body.toString('latin1'),
  };
}

function bytesOf({ line, headers, empty, body }: Lines): Buffer {
  return Buffer.from(line + headers.join('') + empty + body, 'latin1');
}

function flipped(bytes: Buffer, dice: Dice): Buffer {
  const at = dice.integer(0, bytes.length - 1);
  if (dice.oneIn(2)) bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.integer(0, 7));
  else bytes[at] = dice.pick([0, 9, 10, 13, 32, 58, 127, 128, 255]);
  return bytes;
}

/** One step, mostly out of the grammar; some stay just inside. */
type Step = (request: Lines, dice: Dice) => void;

/** Changes one of the headers. */
function header(change: (name: string, value: string, dice: Dice) => string): Step {
  return ({ headers }, dice) => {
    const at = dice.integer(0, headers.length - 1);
    const [, name = '', value = ''] = /^(.*?): ?(.*)\r\n$/s.exec(headers[at] ?? '') ?? [];
    headers[at] = change(name, value, dice);
  };
}

function add(header_: string, { headers }: Lines, dice: Dice): void {
  headers.splice(dice.integer(0, headers.length), 0, header_);
}

/** In its place. */
function setLength(value: string, request: Lines): void {
  request.headers = request.headers.map((header_) =>
    /^content-length:/i.test(header_) ? `Content-Length: ${value}\r\n` : header_,
  );
}

function setBody(body: string, request: Lines): void {
  request.body = body;
  setLength(String(body.length), request);
}

/** A record of about so many bytes. */
function pad(bytes: number, dice: Dice): string {
  return `{"pad":"${'p'.repeat(Math.max(0, bytes - 10 - dice.integer(-3, 3)))}"}`;
}

/** Bytes of which none may be taken for another's. */
function spaced(bytes: number, dice: Dice): string {
  return ' '.repeat(Math.max(0, bytes - dice.integer(-3, 3)));
}

const spaces = ['', ' ', '  ', '\t', ' \t', '\t '];
const ends = ['\n', '\r', '\r\r\n', '\n\r\n', '\r\n ', '\r\n\t', ' \r\n', '\t\r\n', '\0\r\n', ''];
const oddBytes = ['\0', '\t', '\x01', '\x7f', '\x80', '\xff', ' ', ':', ';', ',', '"', '\\', '_'];
const lengths = [
  '',
  '0',
  '00',
  '01',
  '+1',
  '-1',
  '1 ',
  '1, 1',
  '1,1',
  '0x1',
  '1.0',
  '1e1',
  'a',
].concat(['999999', '1000000', '65536', '65537', '18446744073709551616', '٣']);
const added = [
  'Connection: keep-alive',
  'Connection: Keep-Alive',
  'Connection: close',
  'Connection: keep-alive, close',
  'Connection: keep-alive, X',
  'Connection: upgrade',
  'connection:close',
  'Keep-Alive: timeout=5',
  'Proxy-Connection: close',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: identity',
  'Transfer_Encoding: chunked',
  'Content_Length: 3',
  'TE: trailers',
  'Trailer: X',
  'Expect: 100-continue',
  'Expect: x',
  'Upgrade: h2c',
  'Upgrade: websocket',
  'HTTP2-Settings: AAAA',
  'Content-Encoding: identity',
  'Content-Encoding: gzip',
  'Content-Type: application/x-ndjson',
  'Content-Type: text/plain',
  'Date: now',
  'Host: b',
  'X-Forwarded-For: 1.2.3.4',
  'X-Forwarded-For: 1.2.3.4, 5.6.7.8:9, [::1]',
  'Prefer: wait=1',
  'Prefer: respond-async, wait=0',
  'Origin: https://shop.example',
  'Origin: null',
  'Referer: https://shop.example/a',
  'Cookie: _td_global_id=zq; a=b',
  'Authorization: TD1 1/none',
  `Authorization: TD1 ${keys.strict}`,
  `X-TD-Write-Key: ${keys.strict}`,
  `X-TD-Write-Key: ${keys.origins}`,
  'X-TD-Write-Key: 1/none',
  'X_TD_Write_Key: 1/none',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/115.0',
  'Idempotency-Key: zq',
  `Idempotency-Key: ${'i'.repeat(256)}`,
  'Access-Control-Request-Headers: a, b',
  'X-Nothing: a  b',
  'X-Nothing:',
  'X-Nothing: ',
  ': nameless',
  'nameless',
  '__proto__: zq',
  'constructor: zq',
];

const steps: readonly Step[] = [
  header((name, value, dice) => {
    const cased = dice.pick([name.toLowerCase(), name.toUpperCase(), name.replace(/-./, '-x')]);
    return `${cased}: ${value}\r\n`;
  }),
  header((name, value, dice) => `${name}:${dice.pick(spaces)}${value}${dice.pick(spaces)}\r\n`),
  header((name, value, dice) => `${name}${dice.pick(spaces)}: ${value}\r\n`),
  header((name, value, dice) => `${dice.pick(spaces)}${name}: ${value}\r\n`),
  header((name, value, dice) => `${name}: ${value}${dice.pick(ends)}`),
  header((name, value, dice) => `${name}: ${inside(value, dice)}\r\n`),
  header((name, value, dice) => `${inside(name, dice)}: ${value}\r\n`),
  header((name, value, dice) => `${name}: ${value}\r\n`.repeat(dice.integer(0, 2))),
  header((name, _, dice) => `${name}: ${dice.pick(['', ' ', 'zq', '0', 'keep-alive'])}\r\n`),
  (request, dice) => add(`${dice.pick(added)}\r\n`, request, dice),
  (request, dice) => add(`${dice.pick(added)}\r\n`, request, dice),
  (request, dice) => add(`${dice.pick(added)}\r\n`, request, dice),
  (request, dice) => setLength(dice.pick(lengths), request),
  (request, dice) => setLength(String(request.body.length + dice.integer(-2, 2)), request),
  (request, dice) => add(`Content-Length: ${dice.pick(lengths)}\r\n`, request, dice),
  (request, dice) => {
    // About as many headers as there may be.
    const count = limits.headersMax + dice.integer(-2, 2) - request.headers.length;
    for (let index = 0; index < count; index += 1) request.headers.unshift(`X-${index}: a\r\n`);
  },
  (request, dice) => {
    // A head about as long as is read here; seldom, as is read at all.
    const most = dice.oneIn(10) ? limits.headerBytesMax : limits.hotHeadBytesMax;
    const bytes = (request.line + request.headers.join('') + request.empty).length;
    add(
      `X-P: ${'p'.repeat(Math.max(1, most + dice.integer(-3, 3) - bytes - 7))}\r\n`,
      request,
      dice,
    );
  },
  (request, dice) => {
    const isLong = dice.oneIn(10);
    const body = isLong ? pad(limits.smallBodyBytesMax, dice) : oddBody(dice).toString('latin1');
    setBody(body, request);
  },
  (request, dice) => {
    request.line = `${dice.pick(methods)}${request.line.slice(4)}`;
  },
  (request, dice) => {
    request.line = request.line.replace('HTTP/1.1', dice.pick(versions));
  },
  (request, dice) => {
    request.line = request.line.replace(/\S+(?= HTTP)/, (path) => bentPath(path, dice));
  },
  (request, dice) => {
    request.line = `${request.line.slice(0, -2)}${dice.pick(ends)}`;
  },
  (request, dice) => {
    request.empty = dice.pick([...ends, '\r\n\r\n']);
  },
  (request, dice) => {
    request.line = `${dice.pick(['\r\n', '\n', '\r', ' ', '\0', 'X', '\r\n\r\n'])}${request.line}`;
  },
];

const methods = ['post', 'Post', 'PUT', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POSTS', 'POS', 'POST '];
const versions = [
  'HTTP/1.0',
  'HTTP/1.1 ',
  ' HTTP/1.1',
  'HTTP/1.2',
  'http/1.1',
  'HTTP/2.0',
  'HTTP/1.',
  '',
];

function bentPath(path: string, dice: Dice): string {
  const tail = dice.pick([
    '/',
    '//',
    '.',
    '%41',
    '?',
    '?a=1',
    ';',
    '#a',
    '-',
    '\x80',
    '*',
    '__',
    ' ',
  ]);
  return dice.pick([
    path + tail,
    path.toUpperCase(),
    `http://zq.example${path}`,
    `/${path}`,
    path.replace(/\w+$/, dice.pick(['ab', 'main', 'a'.repeat(256), '__proto__', ''])),
    path.replace(/\/\w+/, ''),
    dice.pick(['/', '/a', '/openapi', '/js/v3', '/js/v3/global_id', '/get_cookie_id', '/fuzz/x']),
  ]);
}

function inside(text: string, dice: Dice): string {
  const at = dice.integer(0, text.length);
  return text.slice(0, at) + dice.pick(oddBytes) + text.slice(at);
}

/** Whole, in some pieces, or byte by byte. */
function cut(bytes: Buffer, dice: Dice): readonly Buffer[] {
  if (dice.oneIn(2)) return [bytes];
  const all = bytes.length < 1_500 && dice.oneIn(12);
  const cuts = all
    ? Array.from({ length: Math.max(0, bytes.length - 1) }, (_, index) => index + 1)
    : dice.cuts(bytes.length, dice.integer(1, 6));
  return [0, ...cuts]
    .map((from, index) => bytes.subarray(from, cuts[index] ?? bytes.length))
    .filter((piece) => piece.length > 0);
}
