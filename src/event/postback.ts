import { isUtf8 } from 'node:buffer';
import { fault, limits, MillraceError } from '../base/index.ts';
import { fingerprintOf } from './key.ts';
import { checkDatabase, checkTable } from './names.ts';

/** One accepted event, as it goes into the log. */
export type Postback = {
  readonly database: string;
  readonly table: string;
  /** SHA-256 of the write key. */
  readonly fingerprint: Buffer;
  readonly receivedAtMs: number;
  /** The record: a JSON object in UTF-8, byte for byte as it was sent, after decoding. */
  readonly body: Buffer;
};

/** The parts of an HTTP request that make a postback; the body is decoded. */
export type PostbackRequest = {
  /** As in the path, percent-decoded. */
  readonly database: string;
  readonly table: string;
  /** Header `X-TD-Write-Key`. */
  readonly keyHeader: string | undefined;
  /** Query parameter `td_write_key`; the header takes precedence. */
  readonly keyQuery: string | undefined;
  readonly body: Buffer;
};

/** Decodes one request of Postback v1: `POST /postback/v3/event/{database}/{table}`. */
export function readPostback(
  request: PostbackRequest,
  receivedAtMs: number,
): Postback | MillraceError {
  const address = readAddress(request);
  if (address instanceof MillraceError) return address;
  const wrong = checkRecord(request.body);
  return wrong ?? { ...address, receivedAtMs, body: request.body };
}

type Address = Pick<Postback, 'database' | 'table' | 'fingerprint'>;

function readAddress(request: PostbackRequest): Address | MillraceError {
  const database = checkDatabase(request.database);
  if (database instanceof MillraceError) return database;
  const table = checkTable(request.table);
  if (table instanceof MillraceError) return table;
  const key = request.keyHeader || request.keyQuery;
  if (!key) return fault('MISSING_KEY');
  const keyBytes = Buffer.byteLength(key);
  if (keyBytes > limits.keyBytesMax) {
    return fault('BAD_KEY_FORM', { seen: keyBytes, expected: limits.keyBytesMax });
  }
  return { database, table, fingerprint: fingerprintOf(key) };
}

function checkRecord(body: Buffer): MillraceError | undefined {
  if (body.length === 0) return fault('MISSING_BODY');
  if (!isUtf8(body)) return fault('BAD_UTF8');
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch (error) {
    return fault('BAD_JSON', { seen: (error as Error).message.slice(0, 160) }, error);
  }
  if (value === null) return fault('NOT_AN_OBJECT', { seen: 'null' });
  if (Array.isArray(value)) return fault('NOT_AN_OBJECT', { seen: 'array' });
  if (typeof value !== 'object') return fault('NOT_AN_OBJECT', { seen: typeof value });
  return undefined;
}
