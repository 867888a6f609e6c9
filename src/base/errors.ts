type Entry = {
  /** HTTP status of the answer. */
  readonly status: number;
  /** Whether the same request may succeed later. A 503 carries Retry-After. */
  readonly retryable: boolean;
  /** For the sender: what was seen, what was expected. `{name}` is filled in. */
  readonly message: string;
  /** For the operator: what to do. */
  readonly hint: string;
};

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
    hint: 'The log on disk is not as it was written. Keep the files and look at the hardware.',
  },
  LOCKED: {
    status: 409,
    retryable: true,
    message: '{seen} is in use by {holder}',
    hint: 'One server per data directory: stop the other one, or choose another --data.',
  },
  PORT_IN_USE: {
    status: 409,
    retryable: true,
    message: '{seen} is in use by another program',
    hint: 'Choose another port with {flag}, or stop the other program.',
  },
  BAD_SETTING: {
    status: 400,
    retryable: false,
    message: '{seen}',
    hint: 'See millrace --help, and docs/architecture.md for the config file.',
  },
  BAD_USAGE: {
    status: 400,
    retryable: false,
    message: '{seen}',
    hint: '{hint}',
  },
  BAD_REQUEST: {
    status: 400,
    retryable: false,
    message: '{seen}',
    hint: 'POST /query takes {"sql": "…", "format": "json"} as application/json; see docs.',
  },
  BAD_KEYS_FILE: {
    status: 500,
    retryable: false,
    message: 'the keys file {seen} cannot be read: {reason}',
    hint:
      'Mend or restore the file. A running server keeps the keys it last read; one that has read ' +
      'none takes events and loads nothing until the file is mended.',
  },
  NO_SUCH_KEY: {
    status: 404,
    retryable: false,
    message: 'no key in force with the id or name "{seen}"',
    hint: 'List them with: millrace keys list',
  },
  KEY_AMBIGUOUS: {
    status: 409,
    retryable: false,
    message: 'several keys in force have the name "{seen}": {ids}',
    hint: 'Give the id of one; `keys revoke` takes all of them with --all.',
  },
  KEY_EXISTS: {
    status: 409,
    retryable: false,
    message: 'this key is in force already: {id}',
    hint: 'To give it another scope: millrace keys change {id}',
  },
  KEY_GIVEN: {
    status: 400,
    retryable: false,
    message: 'a key was given where its id or its name is expected',
    hint: 'Ids and names: millrace keys list. The shell may remember the key now.',
  },
  FINGERPRINT_GIVEN: {
    status: 400,
    retryable: false,
    message: 'a fingerprint is not a key: whoever knows it does not have the key',
    hint: 'Give the key itself on standard input: millrace keys import --database DB',
  },
  BAD_PATTERN: {
    status: 400,
    retryable: false,
    message:
      'bad {kind} pattern "{seen}": expected a-z, 0-9, _ and * for any characters ' +
      '(capitals are lowered)',
    hint: "For example 'shop_*', in quotes, so that the shell leaves it as it is.",
  },
  TOO_MANY_KEYS: {
    status: 409,
    retryable: false,
    message: 'there are {seen} keys already, the limit',
    hint: 'Revoke keys that nobody uses: millrace keys list',
  },
  NO_ANSWER: {
    status: 503,
    retryable: true,
    message: 'the server that holds {seen} does not answer',
    hint: 'It may be starting or stopping: look at its log, then try again.',
  },
  QUERY_REFUSED: {
    status: 400,
    retryable: false,
    message: 'one SELECT statement is expected, seen: {seen}',
    hint: 'Queries read tables; they never write, load, configure or open files.',
  },
  QUERY_FAILED: {
    status: 400,
    retryable: false,
    message: '{seen}',
    hint: 'Tables are named db.table; see: millrace status',
  },
  QUERY_TIMEOUT: {
    status: 408,
    retryable: true,
    message: 'the query took longer than {seen} s and was cancelled',
    hint: 'Narrow it, for example with WHERE time >= …, or give it more time: --timeout',
  },
  QUERY_TOO_LONG: {
    status: 413,
    retryable: false,
    message: 'the answer has more than {expected} {unit}: the query was ended',
    hint: 'Ask for less: aggregate, or narrow it, for example with WHERE time >= …',
  },
  QUERY_MEMORY: {
    status: 507,
    retryable: false,
    message: 'the query needs more memory, or more room to spill to, than queries have',
    hint: 'Narrow it, for example with WHERE time >= …, or aggregate in fewer groups.',
  },
  QUERY_CANCELLED: {
    status: 409,
    retryable: false,
    message: 'the query was cancelled',
    hint: 'Somebody ended it: millrace queries cancel.',
  },
  NO_SUCH_QUERY: {
    status: 404,
    retryable: false,
    message: 'no query {seen} is running, nor ended lately',
    hint: 'Those that run: millrace queries list',
  },
  QUERY_BUSY: {
    status: 503,
    retryable: true,
    message: '{seen} queries are running already, the limit',
    hint: 'Try again when one has ended.',
  },
  FLUSH_TIMEOUT: {
    status: 503,
    retryable: true,
    message: 'what was acknowledged is on disk but not yet queryable after {seen} s',
    hint: 'Look at the lag in: millrace status',
  },
  NO_SUCH_TABLE: {
    status: 404,
    retryable: false,
    message: 'there is no table {seen}',
    hint: 'Tables and their rows: millrace status',
  },
  BAD_PREDICATE: {
    status: 400,
    retryable: false,
    message: 'expected a condition on one row, seen: {seen} ({reason})',
    hint: 'What could stand behind WHERE, for example: --where "email = \'ann@example.org\'"',
  },
  NO_SUCH_COLUMN: {
    status: 404,
    retryable: false,
    message: 'the table {table} has no column {seen}',
    hint: 'Columns and their types: millrace columns {table}',
  },
  NOT_IN_QUARANTINE: {
    status: 404,
    retryable: false,
    message: 'the event {seen} is not in quarantine',
    hint: 'What became of it: millrace receipt {seen}',
  },
  BAD_RECEIPT: {
    status: 400,
    retryable: false,
    message: '"{seen}" is no receipt: expected one like 0-000000000012345',
    hint: 'A receipt is in the header X-Millrace-Receipt of an answer and in the column _receipt.',
  },
  NOT_YET: {
    status: 503,
    retryable: true,
    message: 'the tables are not complete to {seen} yet: waited {expected} s',
    hint: 'What waits, and whether loading fails: millrace status',
  },
  STORE_FAILED: {
    status: 500,
    retryable: true,
    message: 'the store failed: {seen}',
    hint: 'Nothing is lost: the log keeps what is not stored. Look at disk room and the log.',
  },
  STORE_NO_ROOM: {
    status: 503,
    retryable: true,
    message: 'the store waits for room on the disk: {seen} bytes free, {expected} needed',
    hint: 'Free room on the disk of the data directory. Nothing is lost: the log keeps it.',
  },
  DISK_FULL: {
    status: 503,
    retryable: true,
    message: 'no room on the disk: {seen}',
    hint: 'Free room on the disk of the data directory, then start again.',
  },
  BACKUP_PLACE: {
    status: 400,
    retryable: false,
    message: 'no backup can be made there: {seen}',
    hint: 'Name a folder that is empty or holds a backup, outside of the data directory.',
  },
  BACKUP_BUSY: {
    status: 409,
    retryable: true,
    message: 'another backup is being made: {seen}',
    hint: 'Try again when it has ended.',
  },
  BACKUP_FAILED: {
    status: 500,
    retryable: true,
    message: 'the backup was not made: {seen}',
    hint: 'The one that the folder had before is whole.',
  },
  BACKUP_DAMAGED: {
    status: 500,
    retryable: false,
    message: 'the backup is damaged: {seen}',
    hint: 'It is not restored. Make another one in another folder: millrace backup DIR',
  },
  NO_BACKUP: {
    status: 404,
    retryable: false,
    message: 'there is no finished backup in {seen}',
    hint: 'Make one: millrace backup DIR',
  },
  RESTORE_PLACE: {
    status: 400,
    retryable: false,
    message: 'no backup can be restored there: {seen}',
    hint: 'Name a folder that is not there yet: millrace restore DIR --data NEW',
  },
  STORE_INVALID: {
    status: 500,
    retryable: true,
    message: 'the store must be opened anew: {seen}',
    hint: 'The server does that by itself. Nothing is lost: the log keeps what is not stored.',
  },
} as const satisfies Record<string, Entry>;

export type FaultCode = keyof typeof catalogue;
