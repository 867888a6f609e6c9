import * as zlib from 'node:zlib';
import type { Dice } from './dice.ts';
import { marker } from './seeds.ts';

const kib = 1024;

/** A value inside so many others. */
function nested(depth: number, open: string, close: string): string {
  return `{"deep":${open.repeat(depth)}1${close.repeat(depth)}}`;
}

const keysOfMany = Array.from({ length: 10_000 }, (_, index) => `"k${index}":${index}`);
const lines = Array.from({ length: 10_001 }, () => '{}');

/** JSON that is odd, and what is nearly JSON. The long ones are drawn seldom: see `oddBody`. */
const short: readonly string[] = [
  '',
  ' ',
  '{}',
  '[]',
  'null',
  '"',
  '[{}]',
  '[[{}]]',
  '[{},null]',
  '{"a":1}{"a":2}',
  '{"a":1}\n{"a":2}',
  '\ufeff{"a":1}',
  '{"a":NaN,"b":Infinity}',
  "{'a':1}",
  '{"a":1,}',
  '{"a":01}',
  '{"a":1e400,"b":-1e400,"c":1e-400,"d":-0,"e":-0.0,"f":1E+2}',
  '{"a":9223372036854775807,"b":9223372036854775808,"c":-9223372036854775809}',
  `{"a":${'9'.repeat(400)},"b":0.${'1'.repeat(400)},"c":1e${'9'.repeat(30)}}`,
  '{"a":"\\ud800","b":"\\udc00\\ud800","\\ud83d":"\\ud83d\\ude00","c":"\\uD83Dx"}',
  '{"a\\u0000b":"\\u0000","":"","\\u0000":1," ":2,"\\n":3,"\u2028":"\u2029"}',
  '{"a":1,"a":2,"A":3,"a ":4,"\\u0061":5,"a_":6}',
  '{"__proto__":{"x":1},"constructor":1,"toString":2,"hasOwnProperty":3,"valueOf":null}',
  '{"time":"soon","_receipt":1,"_rescued_data":{},"rowid":1,"td_record_time":1e99}',
  '{"td_record_time":"99999999999999999999","time":-1,"keen":7,"#SSUT":{},"#UUID":[]}',
  '{"keen":{"timestamp":"9999-99-99T99:99:99Z"},"uuid":"zq","records":[],"events":7}',
  `{"events":[],"records":[{"${marker}":"${marker}"}]}`,
  `{"events":[{},7,"${marker}",[],null,{"a":{"b":[1]}}]}`,
  `{"fuzz.phones":[{"a":1}],"${marker}.x":[{}],"main.x":[{}],"temp.x":[{}],"x":[],"__proto__":0}`,
  '{"fuzz.phones":{},"a":1}',
  `{"td_ip":"td_ip","td_ua":"td_ua","td_browser":{"td_os":"td_os"},"td_global_id":"td_global_id"}`,
  `{"select * from x; drop table y":"'","\\"":"\\"","a]b":"--","/*":"*/"}`,
  `{"${'k'.repeat(300)}":1,"${'ü'.repeat(200)}":2,"${'😀'.repeat(80)}":3}`,
  `{"a":true,"b":"true","c":"1","d":[${'1,'.repeat(200)}1]}`,
  `${marker}</script><img src=x onerror=alert(1)>`,
];

const long: readonly (() => string)[] = [
  () => nested(10_000, '[', ']'),
  () => nested(50_000, '{"a":', '}'),
  () => nested(499, '[', ']'),
  () => nested(501, '{"a":', '}'),
  () => `{"deep":${'['.repeat(200_000)}`,
  () => '['.repeat(500_000),
  () => `{${keysOfMany.join(',')}}`,
  () => `{${'"same":1,'.repeat(10_000)}"same":2}`,
  () => lines.join('\n'),
  () => `[${lines.join(',')}]`,
  () => `[${'{"a":1},'.repeat(2_000)}{"a":"${marker}"}]`,
  () => `{"events":[${'{"a":1},'.repeat(500)}{}]}`,
  () => `{"pad":"${'p'.repeat(1024 * kib)}"}`,
  () => `{"pad":"${'\\u0000'.repeat(20 * kib)}"}`,
  () => `{"a":${'1'.repeat(100 * kib)}}`,
  () => ' '.repeat(300 * kib),
];

/** A body that no client means to send. */
export function oddBody(dice: Dice): Buffer {
  if (dice.oneIn(60)) return Buffer.from(dice.pick(long)());
  if (dice.oneIn(8)) return dice.bytes(dice.integer(0, 300));
  const text = dice.pick(short);
  return dice.oneIn(12) ? Buffer.from(text, 'utf16le') : Buffer.from(text);
}

const encoders: readonly (readonly [name: string, encode: (bytes: Buffer) => Buffer])[] = [
  ['gzip', (bytes) => zlib.gzipSync(bytes)],
  ['x-gzip', (bytes) => zlib.gzipSync(bytes)],
  ['GZIP', (bytes) => zlib.gzipSync(bytes)],
  ['deflate', (bytes) => zlib.deflateSync(bytes)],
  ['deflate', (bytes) => zlib.deflateRawSync(bytes)],
  ['br', (bytes) => zlib.brotliCompressSync(bytes, fastBrotli)],
  ['zstd', (bytes) => zlib.zstdCompressSync(bytes)],
];
const fastBrotli = { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } };

/** What inflates far: within the limit of a record, within that of a batch, and beyond both. */
const bombs = [1_000 * kib, 5_000 * kib, 20_000 * kib].flatMap((bytes) => {
  const spaces = Buffer.alloc(bytes, ' ');
  return encoders.map(([name, encode]) => [name, encode(spaces)] as const);
});

const encodingsSaid = ['identity', '', 'gzip, br', 'lzma', marker, 'gzip;q=1', 'deflate', 'zstd'];

/** A body as `Content-Encoding` says, or not quite as it says. */
export function encoded(body: Buffer, dice: Dice): { said: string; bytes: Buffer } {
  if (dice.oneIn(40)) {
    const [said, bytes] = dice.pick(bombs);
    return { said, bytes };
  }
  const [said, encode] = dice.pick(encoders);
  const bytes = encode(body);
  if (dice.oneIn(4)) return { said: dice.pick(encodingsSaid), bytes };
  if (dice.oneIn(6)) return { said, bytes: bytes.subarray(0, dice.integer(0, bytes.length)) };
  if (dice.oneIn(6)) return { said, bytes: Buffer.concat([bytes, dice.bytes(20)]) };
  if (dice.oneIn(6)) return { said, bytes: encode(bytes) };
  if (dice.oneIn(6)) return { said: dice.pick(encoders)[0], bytes };
  return { said, bytes };
}

/** A body in chunks, mostly well made. */
export function chunked(body: Buffer, dice: Dice): Buffer {
  const cuts = [0, ...dice.cuts(body.length, dice.integer(0, 4)), body.length];
  const parts: Buffer[] = [];
  for (const [index, from] of cuts.entries()) {
    const chunk = body.subarray(from, cuts[index + 1] ?? from);
    if (chunk.length === 0) continue;
    const size = dice.oneIn(30) ? dice.pick(sizesSaid) : chunk.length.toString(16);
    const extension = dice.oneIn(10) ? `;a="${marker}"` : '';
    parts.push(Buffer.from(`${size}${extension}\r\n`), chunk, Buffer.from('\r\n'));
  }
  const trailer = dice.oneIn(10) ? `X-Trailer: ${marker}\r\nContent-Length: 3\r\n` : '';
  return Buffer.concat([...parts, Buffer.from(`0\r\n${trailer}\r\n`)]);
}

const sizesSaid = ['0', '-1', 'ffffffffffffffff', '0x2', ' 2', '2 ', 'zq', '', '7fffffff', '00000'];
