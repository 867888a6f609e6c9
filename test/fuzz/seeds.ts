import { readdirSync, readFileSync } from 'node:fs';
import { routes } from '../../src/wire/index.ts';

/** A request in parts, so that a part can be changed and the rest stay right. */
export type Request = {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  /** What it is answered with as it is; undefined if that is not known. */
  readonly status: number | undefined;
};

/** Write keys by what they are. */
export type Keys = { readonly good: string; readonly origins: string; readonly strict: string };

/** In every input: whatever brings it back as a script or a page is seen. */
export const marker = '<script>zq';

const vendor = 'application/vnd.treasuredata.v1';
const json = 'Content-Type: application/json';
const event = `{"text":"${marker}","number":7,"fraction":0.5,"yes":true,"list":[1,{"a":null}]}`;
const asked =
  '{"td_ip":"td_ip","td_ua":"td_ua","td_browser":"td_browser","td_os_version":"td_os_version",' +
  '"td_global_id":"td_global_id","td_record_time":1700000000}';
const phoneEvent = '{"keen":{"timestamp":"2025-01-02T03:04:05.678Z"},"#SSUT":true,"#UUID":"u-1"}';
const sdkEvent = Buffer.from(`{"td_title":"${marker}","td_version":"3.1.4"}`).toString('base64url');

/** Request line; headers; body. `{key}` is a good key. One at least for every route. */
const texts: readonly (readonly [
  status: number,
  line: string,
  headers: string[],
  body?: string,
])[] = [
  [200, 'POST /postback/v3/event/fuzz/events', [json], event],
  [200, 'POST /postback/v3/event/fuzz/events?td_write_key={key}', [], '{"a":1}'],
  [200, 'POST /postback/v3/event/fuzz/asked', [json, `User-Agent: ${marker}`], asked],
  [200, 'POST /postback/v3/event/fuzz/asked', ['Idempotency-Key: zq-1'], event],
  [200, 'POST /postback/v3/event/fuzz/asked', ['Authorization: TD1 {key}'], event],
  [200, 'POST /postback/v3/event/fuzz/many', [json], `[${event},{"b":2}, {"c":[]}]`],
  [
    200,
    'POST /postback/v3/event/fuzz/many',
    ['Content-Type: application/x-ndjson'],
    '{}\n{"a":1}\n',
  ],
  [200, `GET /postback/v3/event/fuzz/pixels?a=1&b=%3Cscript%3Ezq&td_format=pixel`, []],
  [200, 'GET /postback/v3/event/fuzz/pixels?td_ip=td_ip&a=1&a=2&td_global_id=td_global_id', []],
  [
    302,
    'GET /postback/v3/event/fuzz/pixels?td_redirect=https%3A%2F%2Fshop.example?td_global_id%3D',
    [],
  ],
  [200, 'GET /postback/v3/event/fuzz/pixels?td_redirect=https://zq.example/', []],
  [
    200,
    `GET /js/v3/event/fuzz/pages?api_key={key}&callback=cb&data=${sdkEvent}&time=1700000000`,
    [],
  ],
  [
    200,
    `GET /js/v3/event/fuzz/pages?api_key={key}&data=${sdkEvent}`,
    ['Origin: https://a.example'],
  ],
  [
    200,
    `POST /js/v3/event/fuzz/pages?api_key={key}&data=${sdkEvent}`,
    ['Content-Type: text/plain'],
  ],
  [200, 'POST /js/v3/event/fuzz/pages', [json, 'Origin: null', 'Cookie: _td_global_id=zq'], event],
  [200, 'POST /android/v3/event', [json], `{"fuzz.phones":[${phoneEvent},{"a":1}],"x":[{}]}`],
  [200, 'POST /ios/v3/event', [json], `{"fuzz.phones":[${event}],"fuzz.${marker}":[{}]}`],
  [200, 'POST /js/v3/event', [json], '{"fuzz.phones":[]  ,"fuzz.phones":[{"a":2}]}'],
  [200, 'GET /', ['Cookie: a=b; _td_global_id=11111111-2222-4333-8444-555555555555']],
  [200, 'GET /js/v3/global_id?callback=td.cb_1', ['Cookie: _td_global_id=<script>zq']],
  [200, 'GET /js/v3/enable_global_id', []],
  [200, 'GET /get_cookie_id?cookie_domain=shop.example&callback=$', ['Cookie: _td_ssc_id=zq']],
  [404, 'GET /get_cookie_id?cookie_domain=zq.example&callback=$', []],
  [200, 'POST /debug/postback/v3/event/fuzz/events', [json], event],
  [200, 'POST /_mock/apis/postback/openapi/postback/v3/event/fuzz/events', [json], event],
  [200, 'POST /fuzz/ingested', [`Content-Type: ${vendor}+json`], `{"events":[${event},${asked}]}`],
  [200, 'POST /fuzz/ingested', [`Content-Type: ${vendor}.single+json`], event],
  [200, 'POST /fuzz/ingested', [`Content-Type: ${vendor}.js+json`], `{"events":[${asked},7]}`],
  [200, 'POST /fuzz/ingested', [`Content-Type: ${vendor}.mobile+json`], `{"records":[${event}]}`],
  [204, 'OPTIONS /js/v3/event/fuzz/pages', ['Access-Control-Request-Headers: a, <script>zq']],
  [200, 'HEAD /postback/v3/event/fuzz/events', []],
  [200, 'GET /openapi.json', []],
  [404, 'GET /zq/%3Cscript%3Ezq/x/y', []],
  [400, 'POST /postback/v3/event/fuzz/%3Cscript%3Ezq', [json], '{}'],
  [400, 'POST /postback/v3/event/fuzz/events', [json], `{"${marker}`],
];

/** Requests to begin with: those here, and those of every corpus in `test/wire`. */
export function seedRequests(keys: Keys): readonly Request[] {
  const own = texts.map(([status, line, headers, body = '']): Request => {
    const [method = '', target = ''] = line.split(' ');
    const hasKey = /\{key\}/.test(line + headers.join());
    const all = ['Host: fuzz.example', ...headers, ...(hasKey ? [] : ['X-TD-Write-Key: {key}'])];
    return {
      method,
      target: filled(target, keys),
      version: 'HTTP/1.1',
      headers: all.map((header) => headerOf(filled(header, keys))),
      body: Buffer.from(body),
      status,
    };
  });
  for (const { name, paths } of routes) {
    const patterns = paths.map((path) => new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`));
    const isThere = own.some(({ target }) => patterns.some((one) => one.test(pathOf(target))));
    if (!isThere) throw new Error(`no request to begin with for the route ${name}`);
  }
  return [...own, ...corpusRequests(keys)];
}

function pathOf(target: string): string {
  return target.split('?')[0] ?? '';
}

function headerOf(line: string): readonly [string, string] {
  const at = line.indexOf(':');
  return [line.slice(0, at), line.slice(at + 1).trim()];
}

function filled(text: string, { good, origins, strict }: Keys): string {
  const byName: Readonly<Record<string, string>> = { '': good, origins, strict };
  return text.replace(/\{key(?::(\w+))?(%?)\}/g, (_, name = '', percent: string) => {
    const key = byName[name as string] ?? '1/none';
    return percent === '%' ? encodeURIComponent(key) : key;
  });
}

const corpusFolder = new URL('../wire/', import.meta.url);

function corpusRequests(keys: Keys): readonly Request[] {
  const names = readdirSync(corpusFolder).filter((name) => name.endsWith('.jsonl'));
  return names.flatMap((name) => {
    const lines = readFileSync(new URL(name, corpusFolder), 'utf8').split('\n');
    return lines.flatMap((line) => requestOf(line, keys) ?? []);
  });
}

/** The request in a line of a corpus, whose lengths and encodings we write ourselves. */
function requestOf(line: string, keys: Keys): Request | undefined {
  if (line.trim() === '') return undefined;
  const one = JSON.parse(line) as { readonly request?: unknown; readonly bodyBase64?: string };
  if (typeof one.request !== 'string') return undefined;
  const now = String(Math.floor(Date.now() / 1000));
  const [head = '', ...rest] = filled(one.request, keys).split('\r\n\r\n');
  const [first = '', ...headers] = head.split('\r\n');
  const [method = 'GET', target = '/', version = 'HTTP/1.1'] = first.split(' ');
  const text = rest.join('\r\n\r\n').replace(/\{now(-\d+)?\}/g, now);
  return {
    method,
    target: target.replace(/\{now(-\d+)?\}/g, now),
    version,
    headers: headers.map(headerOf).filter(([name]) => !/^(content-length|expect)$/i.test(name)),
    body: one.bodyBase64 === undefined ? Buffer.from(text) : Buffer.from(one.bodyBase64, 'base64'),
    status: undefined,
  };
}
