import { limits } from '../base/index.ts';
import { record } from './components.ts';
import { type Described, type DescribedMethods, header, keys, media } from './described.ts';
import { paragraphs, schema } from './described.ts';
import { count, type Content } from './document.ts';
import { wrongKey } from './postback.ts';
import { refusals } from './refusals.ts';

const tag = 'Pages';
const path = '/js/v3/event/{database}/{table}';
const time =
  'The `time` of the row is the record’s own `time` in UNIX seconds, of any age; else the ' +
  'parameter `time`; else `td_record_time` within its window; else the time of receipt. A value ' +
  'that is the name of its own key is filled in, as in a postback.';

/** JSON, or a script that calls back with it. */
function answered(of: string, value: unknown, name: string, summary: string): Content {
  return {
    ...media('application/json', schema(of), { [name]: [summary, value] }),
    ...media('application/javascript', schema('Script'), {
      callback: ['With `callback=showPrices`', `/**/showPrices(${JSON.stringify(value)})`],
    }),
  };
}

const post: Described = {
  tag,
  paths: { [path]: { id: 'sendScriptEvent', summary: 'Send an event from a page' } },
  description: paragraphs(
    'Stores one record: the body, or the parameter `data` if the request has no body. The ' +
      'JavaScript SDK 3 sends bodies; SDKs before it send `data` when a page is left.',
    time,
    wrongKey,
  ),
  keys: keys.scriptPost,
  parameters: [
    'dataOfPost',
    'callback',
    'rowTime',
    'recordTime',
    'modified',
    'encoding',
    'idempotencyKey',
  ],
  body: {
    description: 'One record, as JSON whatever its `Content-Type` says.',
    required: false,
    content: media('application/json', schema('Record'), { one: ['One record', record] }),
  },
  answers: {
    200: {
      description: 'On disk. It is a script if `data` was read and there is a `callback`.',
      headers: header('Set-Cookie'),
      content: answered('Nothing', {}, 'one', 'One record'),
    },
  },
  refusals: refusals.scriptPost,
};

const get: Described = {
  tag,
  paths: { [path]: { id: 'sendScriptQuery', summary: 'Send an event by a script element' } },
  description: paragraphs(
    'Stores the record in the parameter `data`. The answer is a script if there is a `callback`, ' +
      'as the JavaScript SDK before 3 wants it; no cache keeps it.',
    `Request line and headers together have at most ${count(limits.headerBytesMax)} bytes.`,
    time,
    wrongKey,
  ),
  keys: keys.script,
  parameters: ['dataOfGet', 'callback', 'rowTime', 'recordTime', 'modified', 'idempotencyKey'],
  answers: {
    200: {
      description: 'On disk.',
      headers: header('Set-Cookie'),
      content: answered('Nothing', {}, 'json', 'Without a callback'),
    },
  },
  refusals: refusals.scriptGet,
};

const globalId: Described = {
  tag,
  paths: {
    '/': { id: 'getGlobalId', summary: 'The visitor’s id across sites, as SDK 4 asks' },
    '/js/v3/global_id': {
      id: 'getGlobalIdByScript',
      summary: 'The visitor’s id across sites, as SDKs before 3 ask',
    },
    '/js/v3/enable_global_id': {
      id: 'enableGlobalId',
      summary: 'The visitor’s id across sites, as SDK 3 asks',
    },
  },
  description: paragraphs(
    'Gives the id in the visitor’s cookie `_td_global_id`, or a new one, and sets the cookie for ' +
      'a year. Browsers send it from pages of other sites only over HTTPS, and only if they take ' +
      'such cookies at all.',
    'With `--global-id off` the answer is 404.',
  ),
  keys: keys.none,
  parameters: ['callback'],
  answers: {
    200: {
      description: 'The id. No cache keeps the answer.',
      headers: header('Set-Cookie'),
      content: answered(
        'GlobalId',
        { global_id: '0f8d1c52-9b3e-4f6a-8c21-5d7e9a40b613' },
        'json',
        'Without a callback',
      ),
    },
  },
  refusals: refusals.globalId,
};

const ssc: Described = {
  tag,
  paths: {
    '/get_cookie_id': { id: 'getCookieId', summary: 'An id that the page’s own domain keeps' },
  },
  description: paragraphs(
    'Gives the id in the cookie `_td_ssc_id`, or a new one, and sets the cookie for the domain, ' +
      'for two years, readable by its scripts. This server must be reached at a name within that ' +
      'domain, over HTTPS, or the browser drops the cookie.',
    'A domain that `--ssc-domains` does not name is answered with 404.',
  ),
  keys: keys.none,
  parameters: ['cookieDomain', 'callback'],
  answers: {
    200: {
      description: 'The id. No cache keeps the answer.',
      headers: header('Set-Cookie'),
      content: answered(
        'CookieId',
        { td_ssc_id: '01KAR7Z9X4B6M2C8D3F5G7H9JK' },
        'json',
        'Without a callback',
      ),
    },
  },
  refusals: refusals.ssc,
};

export const script: DescribedMethods = { POST: post, GET: get };
export const ids = { global_id: { GET: globalId }, ssc: { GET: ssc } };
