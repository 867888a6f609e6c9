import { assert, catalogue, fault, type FaultCode, limits } from '../base/index.ts';
import type { Example, Media, Ref, Response, Schema } from './document.ts';
import { ref } from './document.ts';

/*
 * Refusals, from the catalogue of errors. Each form of the wire tells them in a shape of its own;
 * there is one shared response for each shape and status.
 */

/** `Error` is `{"error": "…"}`, `Script` may be a call of the page, `Receipts` is for phones. */
export type Shape = 'Error' | 'Script' | 'Receipts';

/** What an operation may refuse. */
export type Refusals = { readonly shape: Shape; readonly codes: readonly FaultCode[] };

const ofKey = ['MISSING_KEY', 'BAD_KEY_FORM'] as const;
const ofNames = ['BAD_NAME', 'RESERVED_NAME'] as const;
const ofJson = [
  'MISSING_BODY',
  'BAD_UTF8',
  'BAD_JSON',
  'NESTED_TOO_DEEP',
  'NOT_AN_OBJECT',
] as const;
const ofPolicy = [
  'KEY_UNKNOWN',
  'KEY_REVOKED',
  'KEY_EXPIRED',
  'KEY_NOT_ALLOWED',
  'ORIGIN_NOT_ALLOWED',
] as const;
const ofLog = ['KEYS_UNREADABLE', 'LOG_BUSY', 'LOG_FULL', 'LOG_CLOSED'] as const;
const ofHttp = ['BAD_HTTP', 'REQUEST_TIMEOUT', 'HEADERS_TOO_LARGE'] as const;
const ofBody = ['BAD_ENCODING', 'BODY_TOO_LARGE', 'UNKNOWN_ENCODING', 'EDGE_BUSY'] as const;
const stored = [...ofKey, 'BAD_IDEMPOTENCY_KEY', ...ofPolicy, ...ofLog] as const;
const ofPostback = [
  ...ofNames,
  ...ofJson,
  'BAD_RECORD',
  'RECORD_COUNT',
  'RECORD_TOO_LARGE',
] as const;
const ofScript = [...ofNames, ...ofJson, 'BAD_DATA', 'BAD_CALLBACK'] as const;

/** By kind of operation; the order is that of the catalogue's examples. */
export const refusals = {
  post: { shape: 'Error', codes: [...stored, ...ofPostback, ...ofBody, ...ofHttp] },
  query: { shape: 'Error', codes: [...stored, ...ofNames, ...ofHttp] },
  dryRun: {
    shape: 'Error',
    codes: [
      ...ofKey,
      'BAD_IDEMPOTENCY_KEY',
      ...ofPolicy,
      'KEYS_UNREADABLE',
      ...ofPostback,
      ...ofBody,
      'NO_ANSWER',
      ...ofHttp,
    ],
  },
  mock: { shape: 'Error', codes: [...ofBody, ...ofHttp] },
  scriptPost: { shape: 'Script', codes: [...stored, ...ofScript, ...ofBody, ...ofHttp] },
  scriptGet: { shape: 'Script', codes: [...stored, ...ofScript, ...ofHttp] },
  globalId: { shape: 'Script', codes: ['BAD_CALLBACK', 'GLOBAL_ID_OFF', ...ofHttp] },
  ssc: { shape: 'Script', codes: ['BAD_CALLBACK', 'COOKIE_DOMAIN', ...ofHttp] },
  phone: {
    shape: 'Receipts',
    codes: [...stored, ...ofJson, 'BAD_BATCH', 'TABLE_COUNT', 'RECORD_COUNT', ...ofBody, ...ofHttp],
  },
  ingest: {
    shape: 'Receipts',
    codes: [...stored, ...ofNames, ...ofJson, 'BAD_BATCH', 'RECORD_COUNT', ...ofBody, ...ofHttp],
  },
  page: { shape: 'Error', codes: [...ofHttp] },
} as const satisfies Record<string, Refusals>;

/** What the messages of the examples tell as seen and expected. */
const values: Partial<Record<FaultCode, Record<string, string | number>>> = {
  BAD_NAME: { kind: 'table', seen: 'my-events' },
  RESERVED_NAME: { seen: 'millrace' },
  BAD_KEY_FORM: { seen: 300, expected: limits.keyBytesMax },
  BAD_IDEMPOTENCY_KEY: { seen: 300, expected: limits.idempotencyKeyMax },
  KEY_NOT_ALLOWED: { seen: 'demo.events' },
  ORIGIN_NOT_ALLOWED: { seen: 'https://other.example' },
  BAD_JSON: { seen: 'Unexpected end of JSON input' },
  NOT_AN_OBJECT: { seen: 'string' },
  BAD_RECORD: { where: 'record 2', seen: fault('NOT_AN_OBJECT', { seen: 'number' }).message },
  RECORD_COUNT: { seen: 0, expected: limits.requestRecordsMax },
  RECORD_TOO_LARGE: { where: 'record 2', seen: 1_200_000, expected: limits.bodyBytesMax },
  TABLE_COUNT: { seen: 120, expected: limits.requestTablesMax },
  NESTED_TOO_DEEP: { expected: limits.bodyNestingMax },
  BAD_BATCH: { expected: '{"events":[{…}, …]}' },
  BAD_DATA: { expected: 'base64' },
  BAD_ENCODING: { seen: 'gzip' },
  UNKNOWN_ENCODING: { seen: 'lzma' },
  BODY_TOO_LARGE: { expected: limits.bodyBytesMax },
  HEADERS_TOO_LARGE: { expected: `${limits.headersMax} headers` },
  BAD_HTTP: { seen: 'HPE_INVALID_METHOD' },
  NO_ANSWER: { seen: 'the tables' },
};

const meaning: Readonly<Record<number, string>> = {
  400: 'The request is not as it should be. Nothing was stored; mend it before sending again.',
  401: 'The write key is wrong, and the server or the key is strict. Nothing was stored.',
  403: 'The write key is not for this. Nothing was stored.',
  404: 'This server does not give such ids.',
  408: 'The request did not arrive in time. Nothing was stored; it may be sent again.',
  413: 'Too large. Nothing was stored.',
  415: 'The `Content-Encoding` is not supported. Nothing was stored.',
  431: 'The headers, or the query, are too large. Nothing was stored.',
  503: 'Nothing was stored. Send the request again, after the seconds in `Retry-After`.',
};

/** The responses of an operation that refuse, by status. */
export function refusalsOf({ shape, codes }: Refusals): Record<string, Ref> {
  const responses: Record<string, Ref> = {};
  for (const [status, some] of byStatus(codes)) {
    const reasons = some.map((code) => `\`${code}\``).join(', ');
    const description = `${meaning[status]} Reasons: ${reasons}.`;
    responses[status] = ref('responses', `${shape}${status}`, description);
  }
  return responses;
}

/** The shared responses: one for each shape and status. */
export function sharedRefusals(): Record<string, Response> {
  const responses: Record<string, Response> = {};
  for (const shape of ['Error', 'Script', 'Receipts'] as const) {
    const all = Object.values(refusals).filter((some) => some.shape === shape);
    const codes = new Set<FaultCode>(all.flatMap((some) => some.codes));
    for (const [status, some] of byStatus([...codes])) {
      responses[`${shape}${status}`] = responseOf(shape, status, some);
    }
  }
  return responses;
}

function byStatus(codes: readonly FaultCode[]): readonly (readonly [number, FaultCode[]])[] {
  const groups = Map.groupBy(codes, (code) => catalogue[code].status);
  return [...groups].sort(([a], [b]) => a - b);
}

function responseOf(shape: Shape, status: number, codes: readonly FaultCode[]): Response {
  const description = meaning[status];
  assert(description !== undefined, 'a status has a meaning');
  const headers = {
    ...(status === 401 ? { 'WWW-Authenticate': ref('headers', 'WWW-Authenticate') } : {}),
    ...(status === 503 ? { 'Retry-After': ref('headers', 'Retry-After') } : {}),
  };
  return {
    description,
    ...(Object.keys(headers).length > 0 ? { headers } : {}),
    content: {
      'application/json': mediaOf(shape, codes),
      ...(shape === 'Script' ? { 'application/javascript': scriptOf(codes) } : {}),
    },
  };
}

/** What was refused before its path was known has the plain shape. */
function isPlain(shape: Shape, code: FaultCode): boolean {
  return shape !== 'Receipts' || code === 'BAD_HTTP' || code === 'REQUEST_TIMEOUT';
}

function mediaOf(shape: Shape, codes: readonly FaultCode[]): Media {
  const plain = ref('schemas', 'Error');
  const named = ref('schemas', 'NamedError');
  // Headers that are too long are refused before the path is known, too many of them after it.
  const isMixed = codes.some((code) => isPlain(shape, code) || code === 'HEADERS_TOO_LARGE');
  const areAllPlain = codes.every((code) => isPlain(shape, code));
  const schema: Schema = areAllPlain ? plain : isMixed ? { anyOf: [named, plain] } : named;
  const examples = codes.map((code): [string, Example] => [code, exampleOf(shape, code)]);
  return { schema, examples: Object.fromEntries(examples) };
}

function exampleOf(shape: Shape, code: FaultCode): Example {
  const { message } = fault(code, values[code] ?? {});
  const error = isPlain(shape, code) ? message : { name: code, description: message };
  return { summary: catalogue[code].hint, value: { error } };
}

function scriptOf([code]: readonly FaultCode[]): Media {
  assert(code !== undefined, 'a response has a reason');
  const { value } = exampleOf('Script', code);
  return {
    schema: ref('schemas', 'Script'),
    examples: {
      callback: {
        summary: 'With a parameter `callback`',
        value: `/**/showPrices(${JSON.stringify(value)})`,
      },
    },
  };
}
