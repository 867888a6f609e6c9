import { limits } from '../base/index.ts';
import { record } from './components.ts';
import { type Described, keys, media } from './described.ts';
import { paragraphs, schema } from './described.ts';
import { type Content, count } from './document.ts';
import { wrongKey } from './postback.ts';
import { refusals } from './refusals.ts';

/** Ids of the examples: each has its own, so that they can be tried one after the other. */
const uuid = '3c0e4f6a-9b3e-4c43-8c21-5d7e9a40b613';
const madeUuid = '8f14e45f-ceea-467f-a0e6-1b2c3d4e5f60';
const vendor = 'application/vnd.treasuredata.v1';
const recordBytes = count(limits.ingestRecordBytesMax);
const refused = {
  success: false,
  error: {
    name: 'InvalidPropertyValueError',
    description: 'an event must be a JSON object',
  },
};
const partly =
  'Records that are no JSON object, or too long, are refused one by one, by their receipts; the ' +
  'rest of the request is stored, all or nothing. The status is 200 all the same: at any other ' +
  'a phone sends everything again.';

function batch(id: string): object {
  return {
    events: [
      { ...record, uuid: id },
      { page: '/', visits: 1 },
    ],
  };
}

function list(name: string, summary: string, id: string): Content {
  const examples = { [`v1${name}`]: [summary, batch(id)] as const };
  return media(`${vendor}${name}+json`, schema('Events'), examples);
}

const stored = {
  receipts: [
    { success: true, uuid },
    { success: true, uuid: madeUuid },
  ],
};

const ingest: Described = {
  tag: 'Batches',
  paths: { '/{database}/{table}': { id: 'sendRecords', summary: 'Send records, with receipts' } },
  description: paragraphs(
    'Stores a list of records for one table and gives a receipt for each: the form of the Data ' +
      'Ingestion API, of the JavaScript SDK 4 and of SDKs for phones from 1.0 on.',
    partly,
    'The `time` of a row is the record’s own `time` in UNIX seconds, of any age; else ' +
      '`td_record_time` within 7 days before and 3 days after receipt; else the time of receipt. ' +
      'A record’s own `uuid` is its id: a repeat of the same record makes no second row. It is ' +
      'no column. The uuid of a receipt that the server made is not kept.',
    'The media type says who fills in what: with `v1.js+json` and `v1.mobile+json` a value that ' +
      'is the name of its own key is filled in, as in a postback; with `v1.mobile+json` the ' +
      'column `td_ip` is added. With `v1.single+json` the body is one record. Any other type is ' +
      'read as `v1+json`.',
    wrongKey,
  ),
  keys: keys.authorization,
  parameters: ['recordTime', 'encoding', 'idempotencyKey'],
  body: {
    description: `1 to ${limits.ingestRecordsMax} records, each of at most ${recordBytes} bytes.`,
    required: true,
    content: {
      ...list('', 'A list of records', uuid),
      ...media(`${vendor}.single+json`, schema('Record'), { single: ['One record', record] }),
      ...list('.js', 'A list of records from a page', 'a1d0c6e8-3f02-4b7f-b5d9-8e4c2f6a7b10'),
      ...list('.mobile', 'A list of records from a phone', 'c9f0f895-fb98-4b91-a5f4-2d3e4f506172'),
      ...media('application/json', schema('Events'), {
        json: ['A list as plain JSON', batch('45c48cce-2e2d-4fbd-aa1f-c51c7c6ad26d')],
      }),
    },
  },
  answers: {
    200: {
      description: 'What has a receipt with `success: true` is on disk.',
      content: media('application/json', schema('Receipts'), {
        v1: ['Both stored', stored],
        single: ['One record', { receipts: [{ success: true, uuid: madeUuid }] }],
        refused: ['The second refused', { receipts: [{ success: true, uuid }, refused] }],
      }),
    },
  },
  refusals: refusals.ingest,
};

const phone: Described = {
  tag: 'Batches',
  paths: {
    '/android/v3/event': { id: 'sendAndroidEvents', summary: 'Events of Android before 1.0' },
    '/ios/v3/event': { id: 'sendIosEvents', summary: 'Events of iOS before 1.0' },
    '/js/v3/event': { id: 'sendTables', summary: 'The same form from anywhere else' },
  },
  description: paragraphs(
    'Stores lists of records by `database.table` and gives as many receipts: the form of SDKs ' +
      'for phones before 1.0. Header names with `_` instead of `-` are read too: `X_TD_Write_Key`.',
    partly,
    'A list under a bad name is refused as a whole, by its receipts.',
    'The `time` of a row is `keen.timestamp` (ISO 8601), or the time of receipt if `#SSUT` is ' +
      'true; else `td_record_time` within its window; else the time of receipt. If `#SSUT` is a ' +
      'text, the column of that name gets the time of receipt. `#UUID` is the record’s id: a ' +
      'repeat of the same record makes no second row. These keys are no columns.',
    wrongKey,
  ),
  keys: keys.header,
  parameters: ['recordTime', 'encoding', 'idempotencyKey'],
  body: {
    description: `1 to ${count(limits.requestRecordsMax)} records, each of at most ${recordBytes} \
bytes.`,
    required: true,
    content: media('application/json', schema('EventsByTable'), {
      tables: [
        'Records for one table',
        {
          'demo.events': [
            {
              ...record,
              '#UUID': 'd3d94468-02a4-4259-b55d-38e6d163e820',
              keen: { timestamp: '2026-11-23T10:15:37.000Z' },
            },
            { page: '/', visits: 1 },
          ],
        },
      ],
    }),
  },
  answers: {
    200: {
      description: 'What has a receipt with `success: true` is on disk.',
      content: media('application/json', schema('ReceiptsByTable'), {
        tables: ['Both stored', { 'demo.events': [{ success: true }, { success: true }] }],
        refused: ['The second refused', { 'demo.events': [{ success: true }, refused] }],
      }),
    },
  },
  refusals: refusals.phone,
};

export const batches = { ingest: { POST: ingest }, phone: { POST: phone } };
