import { type Entry, operatorErrors } from './operator-errors.ts';

/** Every fault that leaves a room. One code, one meaning. */
export const catalogue = {
  NO_SUCH_PATH: {
    status: 404,
    retryable: false,
    message: 'no such path: expected POST /postback/v3/event/{database}/{table}',
    hint: "Check the sender's URL; /docs on the same port lists every path.",
  },
  BAD_PATH: {
    status: 400,
    retryable: false,
    message:
      'missing parameter: the path is incomplete or too long; expected ' +
      '/{device}/v3/event/{database}/{table}',
    hint: "Check the sender's URL; /docs on the same port lists every path.",
  },
  BAD_METHOD: {
    status: 405,
    retryable: false,
    message: 'method {seen} is not allowed here: expected {expected}',
    hint: 'Events are sent by POST; pixels and scripts use GET.',
  },
  BAD_NAME: {
    status: 400,
    retryable: false,
    message:
      'bad {kind} name "{seen}": expected 3 to 255 of the characters a-z, 0-9 and _ ' +
      '(capitals are lowered)',
    hint: 'SQL reads the name as it is, so choose from these characters.',
  },
  RESERVED_NAME: {
    status: 400,
    retryable: false,
    message: 'database name "{seen}" is reserved: choose another one',
    hint: 'Reserved: millrace, main, temp, system, pg_catalog, information_schema.',
  },
  MISSING_KEY: {
    status: 400,
    retryable: false,
    message:
      'missing parameter: write key; send the header X-TD-Write-Key, or Authorization: TD1 KEY, ' +
      'or the query parameter {parameter}',
    hint: 'Make one with: millrace keys create --database DB',
  },
  KEY_UNKNOWN: {
    status: 401,
    retryable: false,
    message: 'unknown write key: nothing of this request was stored (strict mode)',
    hint: 'Make one with: millrace keys create --database DB',
  },
  KEY_REVOKED: {
    status: 401,
    retryable: false,
    message: 'this write key is revoked: nothing of this request was stored (strict mode)',
    hint: 'Make one with: millrace keys create --database DB',
  },
  KEY_EXPIRED: {
    status: 401,
    retryable: false,
    message: 'this write key has expired: nothing of this request was stored (strict mode)',
    hint: 'Make a new one with: millrace keys create --database DB',
  },
  KEY_NOT_ALLOWED: {
    status: 403,
    retryable: false,
    message: 'this write key may not write to {seen}: nothing of this request was stored',
    hint: 'Keys and where they may write: millrace keys list',
  },
  ORIGIN_NOT_ALLOWED: {
    status: 403,
    retryable: false,
    message: 'this write key is not for pages of {seen}: nothing of this request was stored',
    hint: 'A key with --origins takes events of pages from these origins only.',
  },
  KEYS_UNREADABLE: {
    status: 503,
    retryable: true,
    message: 'write keys cannot be checked now: nothing of this request was stored; send it again',
    hint: 'keys.json cannot be read, and strict mode takes nothing unchecked.',
  },
  BAD_IDEMPOTENCY_KEY: {
    status: 400,
    retryable: false,
    message: 'Idempotency-Key has {seen} characters: expected 1 to {expected}',
    hint: 'The sender makes it up once per request, for example a UUID.',
  },
  BAD_KEY_FORM: {
    status: 400,
    retryable: false,
    message: 'write key too long: {seen} bytes, at most {expected}',
    hint: 'A key looks like 1/ and 40 hexadecimal digits.',
  },
  MISSING_BODY: {
    status: 400,
    retryable: false,
    message: 'missing parameter: json; the request has no record, expected a JSON object',
    hint: 'The sender must put the record in the body of the POST.',
  },
  BAD_UTF8: {
    status: 400,
    retryable: false,
    message: 'invalid UTF-8 in the body: JSON must be sent as UTF-8',
    hint: 'The sender encodes its text in another character set.',
  },
  BAD_JSON: {
    status: 400,
    retryable: false,
    message: 'malformed JSON: {seen}',
    hint: "Check the sender's JSON; nothing of the request was stored.",
  },
  NOT_AN_OBJECT: {
    status: 400,
    retryable: false,
    message: 'the body is JSON {seen}: expected an object such as {"param1":"value1"}',
    hint: 'A record is an object of names and values.',
  },
  BAD_RECORD: {
    status: 400,
    retryable: false,
    message: '{where}: {seen}; nothing of this request was stored',
    hint: 'A request of many records is stored whole or not at all: mend this one.',
  },
  RECORD_TOO_LARGE: {
    status: 413,
    retryable: false,
    message: '{where} has {seen} bytes: at most {expected}',
    hint: 'Split the record in the sender.',
  },
  RECORD_COUNT: {
    status: 400,
    retryable: false,
    message: 'events size must be between 1 and {expected}, seen: {seen}',
    hint: 'Send several requests.',
  },
  TABLE_COUNT: {
    status: 400,
    retryable: false,
    message: 'lists for {seen} tables in one request: at most {expected}',
    hint: 'Send several requests.',
  },
  NESTED_TOO_DEEP: {
    status: 400,
    retryable: false,
    message: 'JSON nested deeper than {expected} arrays and objects',
    hint: 'No record needs that; the sender may be broken, or an attacker.',
  },
  BAD_BATCH: {
    status: 400,
    retryable: false,
    message: 'the body does not hold one list of records: expected {expected}',
    hint: 'See /docs on the same port for the form of each path.',
  },
  BAD_DATA: {
    status: 400,
    retryable: false,
    message: 'the parameter data is not {expected}',
    hint: 'The JavaScript SDK sends the record as JSON in base64.',
  },
  BAD_CALLBACK: {
    status: 400,
    retryable: false,
    message: 'the parameter callback is not a name of a JavaScript function',
    hint: 'Expected is a name such as TreasureJSONPCallback0, or several joined by dots.',
  },
  GLOBAL_ID_OFF: {
    status: 404,
    retryable: false,
    message: 'global ids are switched off on this server',
    hint: 'They are on with --global-id on.',
  },
  COOKIE_DOMAIN: {
    status: 404,
    retryable: false,
    message: 'no cookie ids for this domain on this server',
    hint: 'Name the domains with --ssc-domains example.com',
  },
  BAD_ENCODING: {
    status: 400,
    retryable: false,
    message: 'the body does not decode as Content-Encoding {seen}',
    hint: 'The sender announces an encoding that it does not use.',
  },
  UNKNOWN_ENCODING: {
    status: 415,
    retryable: false,
    message: 'Content-Encoding "{seen}" is not supported: expected gzip, deflate, br or zstd',
    hint: 'Let the sender use one of these, or none.',
  },
  BODY_TOO_LARGE: {
    status: 413,
    retryable: false,
    message: 'body too large: at most {expected} bytes after decoding',
    hint: 'Send less at once.',
  },
  HEADERS_TOO_LARGE: {
    status: 431,
    retryable: false,
    message: 'headers too large: at most {expected}',
    hint: 'A sender or proxy adds too many or too long headers.',
  },
  BAD_HTTP: {
    status: 400,
    retryable: false,
    message: 'malformed HTTP request: {seen}',
    hint: 'What was sent is not HTTP/1.1, or TLS was spoken to a plain port.',
  },
  REQUEST_TIMEOUT: {
    status: 408,
    retryable: true,
    message: 'the request did not arrive in time: nothing of it was stored',
    hint: 'A slow or stalled sender.',
  },
  EDGE_BUSY: {
    status: 503,
    retryable: true,
    message: 'too many requests are being read: nothing of this one was stored; send it again',
    hint: 'Senders are faster than the disk, or upload slowly. See millrace_edge_body_bytes.',
  },
  LOG_BUSY: {
    status: 503,
    retryable: true,
    message: 'the log is behind: nothing of this request was stored; send it again',
    hint: 'The disk syncs too slowly for the load. See millrace_wal_fsync_duration_seconds.',
  },
  LOG_FULL: {
    status: 503,
    retryable: true,
    message: 'the disk has no room: nothing of this request was stored; send it again',
    hint: 'Free room on the disk of the data directory; no restart is needed.',
  },
  LOG_CLOSED: {
    status: 503,
    retryable: true,
    message: 'the log is closed: nothing of this request was stored; send it again',
    hint: 'Expected during a restart.',
  },
  LOG_DAMAGED: {
    status: 500,
    retryable: false,
    message: '{seen}',
    hint:
      'Stop the server and put the right log folder back; what is missing, and how to go on ' +
      'without it, says: millrace fsck',
  },
  ...operatorErrors,
} as const satisfies Record<string, Entry>;

export type FaultCode = keyof typeof catalogue;
