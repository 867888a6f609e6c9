export type Entry = {
  /** HTTP status of the answer. */
  readonly status: number;
  /** Whether the same request may succeed later. A 503 carries Retry-After. */
  readonly retryable: boolean;
  /** For the sender: what was seen, what was expected. `{name}` is filled in. */
  readonly message: string;
  /** For the operator: what to do. */
  readonly hint: string;
};

/** Faults that operators see: of data directories, keys, queries, tables and the store. */
export const operatorErrors = {
  LOCKED: {
    status: 409,
    retryable: true,
    message: '{seen} is in use by {holder}',
    hint: 'One server, or one of each --role, per data: stop it first, or choose another --data.',
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
    hint: 'It may be starting or stopping. Edges alone do not answer: serve --role store does.',
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
  STORE_MISSING: {
    status: 500,
    retryable: false,
    message: 'the store {seen} is not there, but there was one: {why}',
    hint:
      'Nothing was changed. Put the folder store/ back; or take a backup: millrace restore DIR ' +
      '--data NEW; or make one of the lake and the log: millrace fsck --repair',
  },
  STORE_DAMAGED: {
    status: 500,
    retryable: false,
    message: 'the store is damaged: {seen}',
    hint:
      'With the server stopped, millrace fsck says what that covers, and millrace fsck --repair ' +
      'keeps what can be kept. Or take a backup: millrace restore DIR --data NEW',
  },
  DATA_DAMAGED: {
    status: 500,
    retryable: false,
    message: '{seen} is not what was written: {why}',
    hint:
      'Nothing was made of it. Put the file back from a backup, or stop the server and keep what ' +
      'can be kept: millrace fsck --repair',
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
  NO_RAW: {
    status: 409,
    retryable: false,
    message: 'no bytes of rows of {table} are kept that were received from {seen} on: {expected}',
    hint: 'The bytes of events are kept after they were loaded by: millrace serve --raw-days DAYS',
  },
  RELOAD_DISTURBED: {
    status: 409,
    retryable: true,
    message: '{table} was not reloaded, nothing is changed: rows came that cannot be derived',
    hint: 'Events of quarantine may have become rows meanwhile. Try again.',
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
  SELFTEST_PLACE: {
    status: 400,
    retryable: false,
    message: 'no test can be made there: {seen}',
    hint: 'Name another place: millrace selftest crash --data DIR tests beside DIR.',
  },
  SELFTEST_FAILED: {
    status: 500,
    retryable: false,
    message: '{seen}',
    hint: 'See server.log in the folder of the test.',
  },
  STORE_INVALID: {
    status: 500,
    retryable: true,
    message: 'the store must be opened anew: {seen}',
    hint: 'The server does that by itself. Nothing is lost: the log keeps what is not stored.',
  },
} as const satisfies Record<string, Entry>;
