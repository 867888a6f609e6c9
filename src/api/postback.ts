import { limits } from '../base/index.ts';
import { record } from './components.ts';
import { type Described, type DescribedMethods, header, keys, media } from './described.ts';
import { paragraphs, pixel, schema } from './described.ts';
import { count, type RequestBody, type Response } from './document.ts';
import { refusals } from './refusals.ts';

const tag = 'Postback';
const path = '/postback/v3/event/{database}/{table}';
const placeholders =
  'A value that is the name of its own key is filled in by the server: `td_ip`, `td_ua`, ' +
  '`td_global_id`, `td_browser`, `td_browser_version`, `td_os`, `td_os_version`. What the server ' +
  'does not know is left out.';
/** What becomes of a key that is wrong. */
export const wrongKey =
  'A wrong key is not refused, unless the server or the key is strict: the answer is the same, ' +
  'and the events go to `millrace.quarantine`.';

const body: RequestBody = {
  description: `A record, an array of records, or records by line: 1 to \
${count(limits.requestRecordsMax)}, each of at most ${count(limits.bodyBytesMax)} bytes.`,
  required: true,
  content: {
    ...media(
      'application/json',
      { oneOf: [schema('Record'), schema('Records')] },
      {
        one: ['One record', { param1: 'value1', param2: 'value2' }],
        array: ['An array of records', [record, { page: '/', visits: 1 }]],
      },
    ),
    ...media('application/x-ndjson', schema('Lines'), {
      lines: ['A record in each line', `${JSON.stringify(record)}\n{"page":"/","visits":1}\n`],
    }),
  },
};

const redirected: Response = {
  description: 'The event is on disk, and `td_redirect` leads to a host that it may lead to.',
  headers: { ...header('Location'), ...header('Set-Cookie') },
  content: media('application/json', schema('Nothing')),
};

const post: Described = {
  tag,
  paths: { [path]: { id: 'sendEvent', summary: 'Send an event, or many' } },
  description: paragraphs(
    'Stores one record, or many, for one table. All of a request are stored, or none is. The ' +
      'body is read as JSON whatever its `Content-Type` says, except for the types of records by ' +
      'line: `application/x-ndjson`, `application/ndjson`, `application/jsonl`, ' +
      '`application/json-lines`.',
    'The `time` of the row is the record’s `td_record_time` in UNIX seconds, if that lies within ' +
      '7 days before and 3 days after receipt; else it is the time of receipt.',
    placeholders,
    wrongKey,
  ),
  keys: keys.header,
  parameters: ['recordTime', 'formatOfPost', 'redirectOfPost', 'encoding', 'idempotencyKey'],
  body,
  answers: {
    200: {
      description: 'On disk. One record is answered with `{}`, several with their number.',
      headers: {
        ...header('Strict-Transport-Security'),
        ...header('Set-Cookie'),
        ...header('X-Millrace-Warning'),
      },
      content: {
        ...media(
          'application/json',
          { oneOf: [schema('Nothing'), schema('Accepted')] },
          {
            one: ['One record', {}],
            array: ['An array of records', { accepted: 2 }],
            lines: ['A record in each line', { accepted: 2 }],
          },
        ),
        ...pixel,
      },
    },
    302: redirected,
  },
  refusals: refusals.post,
};

const get: Described = {
  tag,
  paths: { [path]: { id: 'sendPixel', summary: 'Send an event as a picture, or without a body' } },
  description: paragraphs(
    'Stores the query as one record. All its values are texts.',
    'For the `src` of an image. A page can ping the same address by `POST` with ' +
      '`td_format=pixel`: then the record is in the query too.',
    placeholders,
    wrongKey,
  ),
  keys: keys.query,
  parameters: ['columns', 'formatOfGet', 'redirect', 'recordTimeOfQuery', 'idempotencyKey'],
  answers: {
    200: {
      description: 'On disk. No cache keeps the answer.',
      headers: { ...header('Set-Cookie'), ...header('X-Millrace-Warning') },
      content: {
        ...pixel,
        ...media('application/json', schema('Nothing'), {
          json: ['Without `td_format=pixel`', {}],
        }),
      },
    },
    302: redirected,
  },
  refusals: refusals.query,
};

const explained = {
  database: 'demo',
  table: 'events',
  tableIsNew: true,
  becomes: 'row',
  key: 'ok',
  time: { value: 1795428937, iso: '2026-11-23T10:15:37.000Z', why: 'the time of receipt' },
  columns: [
    { key: 'Order ID', column: 'order_id', type: 'BIGINT', isNew: true, value: 7 },
    { key: 'items', column: 'items', type: 'JSON', isNew: true, value: '[{"sku":"a1"}]' },
    {
      key: 'td_record_time',
      column: 'td_record_time',
      type: 'BIGINT',
      isNew: true,
      value: 1500000000,
    },
  ],
  rescued: [{ key: 'time', text: '"now"', why: 'the column is the server’s own' }],
  warnings: ['td_record_time is ignored: expected UNIX seconds within −7 … +3 days of receipt'],
};

/** The same with a key that nobody has made. */
const { tableIsNew: _, ...rest } = explained;
const unknown = {
  ...rest,
  becomes: 'quarantine',
  key: 'unknown_key',
  warnings: ['nobody has made this write key on this server', ...explained.warnings],
};

const toExplain = {
  'Order ID': 7,
  items: [{ sku: 'a1' }],
  time: 'now',
  td_record_time: 1500000000,
};

const dryRun: Described = {
  tag: 'Trying out',
  paths: { [`/debug${path}`]: { id: 'explainEvent', summary: 'See what an event would become' } },
  description: paragraphs(
    'Reads the request as the postback of the same path does, stores nothing, and tells for each ' +
      'record what it would become: a row or a line of quarantine, its time, the column of each ' +
      'value, and what would be rescued.',
    'The parameter `td_format` has no meaning here.',
  ),
  keys: keys.header,
  parameters: ['recordTime', 'encoding', 'idempotencyKey'],
  body: {
    description: `A record, an array of records, or records by line: 1 to \
${limits.explainRecordsMax}.`,
    required: true,
    content: {
      ...media(
        'application/json',
        { oneOf: [schema('Record'), schema('Records')] },
        { one: ['One record', toExplain] },
      ),
      'application/x-ndjson': { schema: schema('Lines') },
    },
  },
  answers: {
    200: {
      description: 'What it would become. Nothing was stored.',
      content: media('application/json', schema('Explanation'), {
        one: ['One record', { stored: false, events: [explained] }],
        unknown: ['The same with an unknown key', { stored: false, events: [unknown] }],
      }),
    },
  },
  refusals: refusals.dryRun,
};

const mock: Described = {
  tag: 'Trying out',
  paths: {
    [`/_mock/apis/postback/openapi${path}`]: {
      id: 'mockEvent',
      summary: 'The answer of success, without a key',
    },
  },
  description:
    'Answers as a postback of one record that was stored. Nothing is checked but the size and ' +
    'the encoding of the body, and nothing is stored.',
  keys: keys.none,
  parameters: ['encoding'],
  body: {
    description: 'Whatever the sender likes.',
    required: false,
    content: media('application/json', schema('Record'), {
      one: ['One record', { param1: 'value1', param2: 'value2' }],
    }),
  },
  answers: {
    200: {
      description: 'Whatever was sent.',
      headers: header('Strict-Transport-Security'),
      content: media('application/json', schema('Nothing'), { one: ['One record', {}] }),
    },
  },
  refusals: refusals.mock,
};

export const postback: DescribedMethods = { POST: post, GET: get };
export const tryingOut = { debug: { POST: dryRun }, mock: { POST: mock } };
