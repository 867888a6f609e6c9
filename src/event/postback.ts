/**
 * How a client wrote an event: it says which rules make a row of it. The order is that of the
 * numbers in the log.
 */
export const dialects = [
  'postback',
  'query',
  'js',
  'ingest',
  'ingest_js',
  'ingest_mobile',
  'keen',
] as const;

export type Dialect = (typeof dialects)[number];

/** What a request said beside its bodies, as far as its rows need it. */
export type Context = {
  /** Address of the sender, for `td_ip`. */
  readonly ip?: string;
  /** Header User-Agent, for `td_ua`, `td_browser`, `td_os` and their versions. */
  readonly userAgent?: string;
  /** The visitor's id across sites, for `td_global_id`. */
  readonly globalId?: string;
  /** `time` of the query, from the JavaScript SDK; UNIX seconds as sent. */
  readonly time?: string;
  /** `td_record_time` of the query. */
  readonly recordTime?: string;
  /** Header Idempotency-Key. */
  readonly idempotencyKey?: string;
  /** Address of a sender whose key may not write there, for `millrace.auth_failures`. */
  readonly from?: string;
};

/** The events of one request: durable together, or not at all. */
export type Submission = {
  readonly dialect: Dialect;
  readonly receivedAtMs: number;
  /** SHA-256 of the write key. */
  readonly fingerprint: Buffer;
  readonly context: Context;
  readonly groups: readonly Group[];
};

/** Events for one table. */
export type Group = {
  readonly database: string;
  readonly table: string;
  /** Each a JSON object in UTF-8, byte for byte as it was sent, after decoding. */
  readonly bodies: readonly Buffer[];
};

/** One accepted event, as it comes out of the log. */
export type Postback = Omit<Submission, 'groups'> &
  Omit<Group, 'bodies'> & {
    readonly body: Buffer;
    /** Its place in its request, from 0. */
    readonly index: number;
  };
