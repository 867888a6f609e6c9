import { limits } from '../base/index.ts';
import { count, type Document, type Header, type Parameter, type Schema } from './document.ts';
import type { SecurityScheme } from './document.ts';
import { sharedRefusals } from './refusals.ts';

/** The record of the examples. */
export const record = { page: '/pricing', price: 19.9, visits: 3 };
const base64 = Buffer.from(JSON.stringify(record)).toString('base64');
const maxName = limits.nameLengthMax;
const name: Schema = {
  type: 'string',
  pattern: `^[A-Za-z0-9_]{${limits.nameLengthMin},${maxName}}$`,
};
const names =
  `${limits.nameLengthMin} to ${maxName} letters, digits and \`_\`. ` +
  'Capital letters are made small ones.';

const parameters: Record<string, Parameter> = {
  database: {
    name: 'database',
    in: 'path',
    required: true,
    description: `The database: ${names} It need not exist. Some names are reserved: \`millrace\`, \
\`main\`, \`temp\`, \`system\`, \`pg_catalog\`, \`information_schema\`.`,
    schema: name,
    example: 'demo',
  },
  table: {
    name: 'table',
    in: 'path',
    required: true,
    description: `The table: ${names} It is made with its first row.`,
    schema: name,
    example: 'events',
  },
  anyDatabase: {
    name: 'database',
    in: 'path',
    required: true,
    description: 'Any text without a slash. It is not checked.',
    schema: { type: 'string', minLength: 1 },
    example: 'demo',
  },
  anyTable: {
    name: 'table',
    in: 'path',
    required: true,
    description: 'Any text without a slash. It is not checked.',
    schema: { type: 'string', minLength: 1 },
    example: 'events',
  },
  encoding: {
    name: 'Content-Encoding',
    in: 'header',
    description: 'How the body is compressed. Limits of size are those of the body after decoding.',
    schema: { type: 'string', enum: ['identity', 'gzip', 'x-gzip', 'deflate', 'br', 'zstd'] },
  },
  prefer: {
    name: 'Prefer',
    in: 'header',
    description: `\`wait=N\`: the answer waits until the events are queryable, N seconds at most, \
and ${limits.preferWaitMax} in any case. \`X-Millrace-State\` then says what has become of them.`,
    schema: { type: 'string', examples: ['wait=5'] },
  },
  idempotencyKey: {
    name: 'Idempotency-Key',
    in: 'header',
    description: `A text of the sender's own for this request. The same request sent again with it \
makes no second row. Another record under the same key goes to quarantine, reason \`id_reused\`. \
Keys are remembered for ${limits.idsKeptMs / 3_600_000} hours at least. A record's own id, where \
the form has one, counts instead.`,
    schema: { type: 'string', minLength: 1, maxLength: limits.idempotencyKeyMax },
  },
  recordTime: {
    name: 'td_record_time',
    in: 'query',
    description: `The \`time\` of the row in UNIX seconds, if the record has no time of its own. \
It counts from 7 days before receipt to 3 days after; else the time of receipt is taken.`,
    schema: { type: 'string', pattern: '^\\d+(\\.\\d+)?$' },
  },
  recordTimeOfQuery: {
    name: 'td_record_time',
    in: 'query',
    description: `The \`time\` of the row in UNIX seconds. It counts from 7 days before receipt to \
3 days after; else the time of receipt is taken. It is a column too.`,
    schema: { type: 'string', pattern: '^\\d+(\\.\\d+)?$' },
  },
  rowTime: {
    name: 'time',
    in: 'query',
    description: 'The `time` of the row in UNIX seconds, of any age, if the record has no `time`.',
    schema: { type: 'string', pattern: '^\\d+(\\.\\d+)?$' },
  },
  modified: {
    name: 'modified',
    in: 'query',
    description: 'Ignored. SDKs send it so that no cache takes two requests for one.',
    schema: { type: 'string' },
  },
  formatOfGet: {
    name: 'td_format',
    in: 'query',
    description: '`pixel` asks for a picture as the answer. Else the answer is JSON.',
    schema: { type: 'string' },
    example: 'pixel',
  },
  formatOfPost: {
    name: 'td_format',
    in: 'query',
    description:
      '`pixel` takes the record from the query, as the `GET` does; the body is not looked at.',
    schema: { type: 'string' },
  },
  redirect: {
    name: 'td_redirect',
    in: 'query',
    description: `An address, URL-encoded, that the answer redirects to. Its host must be named by \
\`--redirect-hosts\`; else the event is stored, and the answer is the one without a redirect and \
with the header \`X-Millrace-Warning\`. If the event asks for \`td_global_id\`, a parameter \
\`td_global_id=td_global_id\` of the address is filled in.`,
    schema: { type: 'string', format: 'uri' },
  },
  redirectOfPost: {
    name: 'td_redirect',
    in: 'query',
    description: 'With `td_format=pixel`: an address to redirect to, as in the `GET`.',
    schema: { type: 'string', format: 'uri' },
  },
  columns: {
    name: 'columns',
    in: 'query',
    description: `Every other parameter, whatever its name: a column of text. If one comes twice, \
the first is the column and the others go to \`_rescued_data\`.`,
    schema: { type: 'object', additionalProperties: { type: 'string' } },
    example: { page: '/pricing', td_ip: 'td_ip' },
  },
  dataOfGet: {
    name: 'data',
    in: 'query',
    required: true,
    description: `The record: a JSON object in base64, URL-encoded. Base64 for URLs is read too, \
and characters beyond the BMP that were encoded half by half.`,
    schema: { type: 'string', contentEncoding: 'base64', contentMediaType: 'application/json' },
    example: base64,
  },
  dataOfPost: {
    name: 'data',
    in: 'query',
    description: 'The record as JSON in base64, URL-encoded: read if the request has no body.',
    schema: { type: 'string', contentEncoding: 'base64', contentMediaType: 'application/json' },
  },
  callback: {
    name: 'callback',
    in: 'query',
    description: `The name of a function of the page, dots allowed, at most ${limits.callbackMax} \
characters. The answer is then a script that calls it. With a JSON body only refusals are.`,
    schema: {
      type: 'string',
      pattern: '^[A-Za-z_$][A-Za-z0-9_$]*(\\.[A-Za-z_$][A-Za-z0-9_$]*)*$',
      maxLength: limits.callbackMax,
    },
  },
  cookieDomain: {
    name: 'cookie_domain',
    in: 'query',
    required: true,
    description: 'The domain that the cookie is for. It must be one that `--ssc-domains` names.',
    schema: { type: 'string' },
    example: 'example.com',
  },
};

const receipts = 'One receipt for each record, in the order of the records.';

const schemas: Record<string, Schema> = {
  Record: {
    type: 'object',
    description: `One event. Each key becomes a column. A column's type is that of its first \
value: integers are \`BIGINT\`, other numbers \`DOUBLE\`, texts \`VARCHAR\`, true and false \
\`BOOLEAN\`, objects and arrays \`JSON\`. What does not fit goes, exact, to \`_rescued_data\`.`,
    additionalProperties: true,
  },
  Records: {
    type: 'array',
    description: 'Records for one table. All are stored, or none is.',
    items: { $ref: '#/components/schemas/Record' },
    minItems: 1,
    maxItems: limits.requestRecordsMax,
  },
  Lines: {
    type: 'string',
    description: 'A record in each line, as JSON. Empty lines are skipped.',
  },
  Events: {
    type: 'object',
    description: `1 to ${limits.ingestRecordsMax} records in \`events\`; \`records\` is read too.`,
    properties: {
      events: {
        type: 'array',
        items: { $ref: '#/components/schemas/Record' },
        minItems: 1,
        maxItems: limits.ingestRecordsMax,
      },
    },
    required: ['events'],
  },
  EventsByTable: {
    type: 'object',
    description: 'Lists of records by `database.table`.',
    additionalProperties: { type: 'array', items: { $ref: '#/components/schemas/Record' } },
  },
  Nothing: { type: 'object', description: 'An empty object.', additionalProperties: false },
  Accepted: {
    type: 'object',
    properties: { accepted: { type: 'integer', description: 'How many records were stored.' } },
    required: ['accepted'],
  },
  Receipt: {
    type: 'object',
    description: 'What became of a record: it is on disk, or it was refused.',
    properties: {
      success: { type: 'boolean' },
      uuid: { type: 'string', format: 'uuid', description: 'Its id: the one sent, or a new one.' },
      error: { $ref: '#/components/schemas/NamedFault' },
    },
    required: ['success'],
  },
  Receipts: {
    type: 'object',
    description: receipts,
    properties: {
      receipts: { type: 'array', items: { $ref: '#/components/schemas/Receipt' } },
    },
    required: ['receipts'],
  },
  ReceiptsByTable: {
    type: 'object',
    description: `By the key of the request: ${receipts.toLowerCase()}`,
    additionalProperties: { type: 'array', items: { $ref: '#/components/schemas/Receipt' } },
  },
  Error: {
    type: 'object',
    properties: { error: { type: 'string', description: 'Why, in words.' } },
    required: ['error'],
  },
  NamedFault: {
    type: 'object',
    properties: { name: { type: 'string' }, description: { type: 'string' } },
    required: ['name', 'description'],
  },
  NamedError: {
    type: 'object',
    properties: { error: { $ref: '#/components/schemas/NamedFault' } },
    required: ['error'],
  },
  Script: { type: 'string', description: 'A call of the function that `callback` names.' },
  GlobalId: {
    type: 'object',
    properties: { global_id: { type: 'string', pattern: '^[A-Za-z0-9_-]{8,64}$' } },
    required: ['global_id'],
  },
  CookieId: {
    type: 'object',
    properties: { td_ssc_id: { type: 'string', pattern: '^[0-9A-HJKMNP-TV-Z]{26}$' } },
    required: ['td_ssc_id'],
  },
};

const text: Schema = { type: 'string' };

const headers: Record<string, Header> = {
  'Strict-Transport-Security': {
    description: 'Tells browsers to come by HTTPS from now on.',
    schema: { ...text, const: 'max-age=31536000' },
  },
  Location: { description: 'Where `td_redirect` leads.', schema: { ...text, format: 'uri' } },
  'X-Millrace-Warning': { description: 'Why `td_redirect` was not followed.', schema: text },
  'Set-Cookie': { description: 'The cookie that keeps the id.', schema: text },
  'X-Millrace-Receipt': {
    description: 'The `_receipt` of the event; with `+` and a number, of all of the request.',
    schema: { ...text, pattern: '^\\d+-\\d{15}(\\+\\d+)?$' },
  },
  'Preference-Applied': {
    description: 'Only where the request says `Prefer: wait=N`.',
    schema: { ...text, const: 'wait' },
  },
  'X-Millrace-State': {
    description: 'Beside `Preference-Applied`: what has become of the events.',
    schema: { ...text, pattern: '^(queryable|quarantined; reason=[a-z_,]+|durable)$' },
  },
  'Retry-After': { description: 'Seconds to wait.', schema: { type: 'integer' } },
  'WWW-Authenticate': { description: 'How a key is sent.', schema: { ...text, const: 'TD1' } },
};

const maxKey = count(limits.keyBytesMax);
const makeOne = 'Make one with `millrace keys create --database DB`.';

const securitySchemes: Record<string, SecurityScheme> = {
  writeKeyHeader: {
    type: 'apiKey',
    in: 'header',
    name: 'X-TD-Write-Key',
    description: `A write key, at most ${maxKey} bytes. It wins over one in the query. ${makeOne}`,
  },
  writeKeyQuery: {
    type: 'apiKey',
    in: 'query',
    name: 'td_write_key',
    description: 'The write key in the address, for pixels. Encode its `/` as `%2F`, or do not.',
  },
  scriptKey: {
    type: 'apiKey',
    in: 'query',
    name: 'api_key',
    description: 'The write key in the address, as scripts send it.',
  },
  authorization: {
    type: 'http',
    scheme: 'TD1',
    description: '`Authorization: TD1` and the write key. It wins over the other forms.',
  },
};

/** What operations share. */
export function components(more: Record<string, Schema>): Document['components'] {
  return {
    schemas: { ...schemas, ...more },
    parameters,
    headers,
    responses: sharedRefusals(),
    securitySchemes,
  };
}
