import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { curl, type ExampleRequest, exampleRequests } from '../src/api/curl.ts';
import { type Document, type Operation, type Response, resolved } from '../src/api/document.ts';
import type { Example, SecurityScheme } from '../src/api/document.ts';
import { openapi } from '../src/api/openapi.ts';
import { page } from '../src/api/page.ts';
import { routes } from '../src/wire/index.ts';
import { createKey, millrace, query, temporaryDirectory, TestServer } from './support/server.ts';

const document = openapi('0.0.0');
const documents = ['/openapi.json', '/openapi.yaml', '/docs'];

type Placed = { path: string; method: 'get' | 'post'; operation: Operation };

const operations: readonly Placed[] = Object.entries(document.paths).flatMap(([path, item]) =>
  (['get', 'post'] as const).flatMap((method) => {
    const operation = item[method];
    return operation ? [{ path, method, operation }] : [];
  }),
);
const byId = operations.map((placed) => [placed.operation.operationId, placed] as const);

const byText = (a = '', b = '') => a.localeCompare(b);

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let key: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
  key = await createKey(directory.path, '*');
  const settings = ['--ssc-domains', 'example.com', '--redirect-hosts', 'shop.example'];
  server = await TestServer.start(directory.path, settings);
});

afterAll(async () => {
  await server.kill();
  await directory.remove();
});

describe('the document', () => {
  test('is a valid OpenAPI 3.1 document', async () => {
    const validator = new Validator();
    const copy = JSON.parse(JSON.stringify(document)) as Record<string, unknown>;
    expect(await validator.validate(copy)).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  test('has every method of every route, the documents, and nothing else', () => {
    const there = operations.map(({ path, method }) => `${method.toUpperCase()} ${path}`);
    const routed = routes.flatMap(({ methods, paths }) =>
      paths.flatMap((path) => methods.map((method) => `${method} ${path}`)),
    );
    const expected = [...routed, ...documents.map((path) => `GET ${path}`)];
    expect(there.toSorted()).toEqual(expected.toSorted());
  });

  test('names each operation once, and each parameter of its path', () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, operation } of operations) {
      const inPath = operation.parameters
        .map((one) => resolved(document, one))
        .filter((one) => 'in' in one && one.in === 'path')
        .map((one) => ('name' in one ? `{${one.name}}` : ''));
      expect(inPath, path).toEqual(path.match(/\{\w+\}/g) ?? []);
    }
  });

  test('uses every component, and points to none that is not there', () => {
    const text = JSON.stringify(document);
    const used = new Set([...text.matchAll(/"#\/components\/(\w+\/[\w-]+)"/g)].map(([, at]) => at));
    const schemes = operations.flatMap(({ operation }) => operation.security.flatMap(Object.keys));
    for (const name of schemes) used.add(`securitySchemes/${name}`);
    const there = Object.entries(document.components).flatMap(([kind, all]) =>
      Object.keys(all).map((name) => `${kind}/${name}`),
    );
    expect(there.toSorted(byText)).toEqual([...used].toSorted(byText));
  });

  test('leaves no part of a message or a text unfilled', () => {
    const { components } = document;
    const messages = JSON.stringify(components.responses);
    expect(messages).not.toMatch(/\{(seen|expected|kind|where|reason)\}/);
    expect(JSON.stringify(document)).not.toMatch(/undefined|NaN|\[object/);
  });

  test('is served and printed as the same text', async () => {
    const served = await Promise.all(
      ['/openapi.json', '/openapi.yaml'].map(async (path) => (await get(path)).text()),
    );
    const printed = await Promise.all([millrace(['openapi']), millrace(['openapi', '--yaml'])]);
    expect(printed.map(({ stdout }) => stdout)).toEqual(served);
    expect(printed.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      printed.map(() => ({ code: 0, stderr: '' })),
    );
    const [json = '', yaml = ''] = served;
    expect(parse(yaml)).toEqual(JSON.parse(json));
    const { info } = JSON.parse(json) as Document;
    const { version } = info;
    expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify(openapi(version))));
    expect(yaml).not.toMatch(/^\s*[\w'/-]*: [&*]\w+$/m);
  });

  test('millrace openapi --help gives examples', async () => {
    const { code, stdout } = await millrace(['openapi', '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Examples:\n {2}millrace openapi/);
  });
});

/** A GET, or a HEAD. */
function get(path: string, method = 'GET'): Promise<globalThis.Response> {
  return fetch(server.ingest + path, { method });
}

function send(ingest: string, request: ExampleRequest): Promise<globalThis.Response> {
  const { method, target, headers, body } = request;
  return fetch(ingest + target, {
    method,
    headers: headers.map(([name, value]): [string, string] => [name, value]),
    ...(body === undefined ? {} : { body }),
    redirect: 'manual',
  });
}

/** The operation with another way to send the key, and with no parameter but what it requires. */
function variants({ operation }: Placed): readonly (readonly [string, Operation])[] {
  const { security } = operation;
  const bySecurity = security.map((one): [string, Operation] => {
    return [`key: ${Object.keys(one).join()}`, { ...operation, security: [one] }];
  });
  const required = operation.parameters.filter((one) => {
    const parameter = resolved(document, one);
    return 'required' in parameter && parameter.required;
  });
  const least: [string, Operation] = ['least', { ...operation, parameters: required }];
  return [['as it is', operation], least, ...bySecurity];
}

/** Status and media type as documented, the body in the shape of its example. */
async function expectDocumented(
  answer: globalThis.Response,
  { operation }: Placed,
  name: string,
): Promise<void> {
  const given = operation.responses[answer.status];
  if (!given) throw new Error(`${answer.status} is not documented: ${await answer.text()}`);
  const { content = {}, headers = {} } = resolved<Response>(document, given);
  const type = answer.headers.get('content-type')?.split(';')[0] ?? '';
  expect(Object.keys(content)).toContain(type);
  for (const required of answer.status === 302 ? ['Location'] : []) {
    expect(Object.keys(headers)).toContain(required);
  }
  const documented = Object.keys(headers).map((header) => header.toLowerCase());
  const rares = ['set-cookie', 'location', 'retry-after', 'x-millrace-warning'];
  for (const rare of [...rares, 'x-millrace-receipt']) {
    if (answer.headers.has(rare)) expect(documented).toContain(rare);
  }
  const body = await answer.text();
  const all = content[type]?.examples ?? {};
  const example: Example | undefined = all[name] ?? Object.values(all)[0];
  if (type !== 'application/json' || !example) return;
  expect(shapeOf(JSON.parse(body))).toEqual(shapeOf(example.value));
}

/** Keys and types, without values; of a list the different shapes in it. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) {
    const shapes = new Map(value.map((one) => [JSON.stringify(shapeOf(one)), shapeOf(one)]));
    return [...shapes.values()];
  }
  if (typeof value !== 'object' || value === null) return value === null ? null : typeof value;
  const entries = Object.entries(value).toSorted(([a], [b]) => a.localeCompare(b));
  return Object.fromEntries(entries.map(([name, one]) => [name, shapeOf(one)]));
}

function documentedBody({ requestBody }: Operation): string {
  return requestBody?.description ?? '';
}

describe.each(byId)('%s', (_, placed) => {
  const { path, method } = placed;

  test('each example is answered with 200, as documented', async () => {
    for (const [variant, operation] of variants(placed)) {
      for (const request of exampleRequests(document, path, method, operation, key)) {
        const answer = await send(server.ingest, request);
        const what = `${variant} ${request.name}`;
        expect(answer.status, `${what}: ${await answer.clone().text()}`).toBe(200);
        await expectDocumented(answer, placed, request.name);
      }
    }
  });

  test('what lacks its key or its record is refused as documented', async () => {
    const { operation } = placed;
    const bare: Operation = { ...operation, security: [] };
    const [request] = exampleRequests(document, path, method, bare, key);
    if (!request) throw new Error('no example');
    const noKey = await send(server.ingest, request);
    expect(noKey.status).toBe(operation.security.length > 0 ? 400 : 200);
    await expectDocumented(noKey, placed, operation.security.length > 0 ? 'MISSING_KEY' : '');
    if (method === 'get') return;
    const [whole] = exampleRequests(document, path, method, operation, key);
    if (!whole) throw new Error('no example');
    const headers = [...whole.headers, ['Content-Encoding', 'lzma'] as const];
    const encoded = await send(server.ingest, { ...whole, headers });
    expect(encoded.status).toBe(415);
    await expectDocumented(encoded, placed, 'UNKNOWN_ENCODING');
    const [, shown = ''] = /At most ([\d,]+) bytes after/.exec(documentedBody(operation)) ?? [];
    const bytesMax = Number(shown.replaceAll(',', ''));
    expect(bytesMax).toBeGreaterThan(0);
    const full = await send(server.ingest, { ...whole, body: ' '.repeat(bytesMax) });
    expect(full.status).not.toBe(413);
    await expectDocumented(full, placed, full.status === 200 ? '' : 'BAD_JSON');
    const tooLarge = await send(server.ingest, { ...whole, body: ' '.repeat(bytesMax + 1) });
    expect(tooLarge.status).toBe(413);
    await expectDocumented(tooLarge, placed, 'BODY_TOO_LARGE');
  });
});

describe('what only some requests get', () => {
  const placedBy = (id: string): Placed => {
    const found = operations.find(({ operation }) => operation.operationId === id);
    if (!found) throw new Error(`no operation ${id}`);
    return found;
  };

  test.each<[string, string, number]>([
    ['sendPixel', '/postback/v3/event/demo/events?page=a', 200],
    ['sendPixel', '/postback/v3/event/demo/events?td_redirect=https://shop.example/a', 302],
    ['sendPixel', '/postback/v3/event/demo/events?td_redirect=https://x.example/a', 200],
    ['sendPixel', '/postback/v3/event/demo/events?td_global_id=td_global_id', 200],
    ['sendPixel', '/postback/v3/event/my-demo/events?page=a', 400],
    ['sendScriptQuery', '/js/v3/event/demo/events?data=e30%3D&callback=show', 200],
    ['sendScriptQuery', '/js/v3/event/demo/events?data=e30%3D&callback=a-b', 400],
    ['sendScriptQuery', '/js/v3/event/demo/events?callback=show', 400],
    ['getGlobalId', '/?callback=show', 200],
    ['getGlobalId', '/?callback=1', 400],
    ['getCookieId', '/get_cookie_id?cookie_domain=example.org', 404],
    ['getCookieId', '/get_cookie_id?cookie_domain=example.com&callback=show', 200],
  ])('%s by %s', async (id, target, status) => {
    const headers = [['X-TD-Write-Key', key]] as const;
    const request = { name: '', summary: '', method: 'GET', target, headers, body: undefined };
    const answer = await send(server.ingest, request);
    expect(answer.status).toBe(status);
    await expectDocumented(answer, placedBy(id), '');
  });

  test.each<[string, string, string, number, string]>([
    ['sendEvent', '/postback/v3/event/demo/events?td_format=pixel&page=a', 'PING', 200, ''],
    [
      'sendEvent',
      '/postback/v3/event/demo/events?td_format=pixel&td_redirect=https://shop.example/',
      'PING',
      302,
      '',
    ],
    ['sendEvent', '/postback/v3/event/demo/events', '[{},7]', 400, 'BAD_RECORD'],
    ['sendEvent', '/postback/v3/event/millrace/events', '{}', 400, 'RESERVED_NAME'],
    ['sendScriptEvent', '/js/v3/event/demo/events?data=e30%3D&callback=show', '', 200, ''],
    ['sendScriptEvent', '/js/v3/event/demo/events?callback=show', '7', 400, ''],
    ['sendRecords', '/demo/events', '{"events":[{"a":1},7]}', 200, 'refused'],
    ['sendRecords', '/demo/events', '{"events":[]}', 400, 'RECORD_COUNT'],
    ['sendRecords', '/demo/events', '[]', 400, 'BAD_BATCH'],
    ['sendIosEvents', '/ios/v3/event', '{"demo.events":[{"a":1},7]}', 200, 'refused'],
    ['sendIosEvents', '/ios/v3/event', '{"demo.events":7}', 400, 'BAD_BATCH'],
    ['explainEvent', '/debug/postback/v3/event/demo/events', '7', 400, 'NOT_AN_OBJECT'],
  ])('%s by %s with %s', async (id, target, body, status, name) => {
    const headers = [['X-TD-Write-Key', key]] as const;
    const request = { name, summary: '', method: 'POST', target, headers, body };
    const answer = await send(server.ingest, request);
    expect(answer.status).toBe(status);
    await expectDocumented(answer, placedBy(id), name);
  });

  test('a strict server refuses keys as documented, and ids that are off', async () => {
    await using other = await temporaryDirectory();
    const narrow = await createKey(other.path, 'shop');
    const settings = ['--strict', '--global-id', 'off'];
    await using strict = await TestServer.start(other.path, settings);
    const offs = new Set(['getGlobalId', 'getGlobalIdByScript', 'enableGlobalId', 'getCookieId']);
    for (const placed of operations) {
      const { path, method, operation } = placed;
      const { operationId: id, security } = operation;
      const isStored = security.length > 0;
      for (const [some, name, status] of [
        ['1/unknown', 'KEY_UNKNOWN', 401],
        [narrow, 'KEY_NOT_ALLOWED', 403],
      ] as const) {
        const [request] = exampleRequests(document, path, method, operation, some);
        if (!request) throw new Error('no example');
        const answer = await send(strict.ingest, request);
        expect(answer.status, id).toBe(isStored ? status : offs.has(id) ? 404 : 200);
        await expectDocumented(answer, placed, isStored ? name : 'unknown');
      }
    }
  });

  test('all examples can be sent one after the other: none gets in the way', async () => {
    await using other = await temporaryDirectory();
    const any = await createKey(other.path, '*');
    await using fresh = await TestServer.start(other.path);
    for (const { path, method, operation } of operations) {
      for (const request of exampleRequests(document, path, method, operation, any)) {
        await send(fresh.ingest, request);
      }
    }
    await fresh.flush();
    expect(await query(other.path, 'FROM millrace.quarantine')).toEqual([]);
  });

  test('the example of lines makes a row of each', async () => {
    const { path, method, operation } = placedBy('sendEvent');
    const [, , lines] = exampleRequests(document, path, method, operation, key);
    if (!lines) throw new Error('no example');
    expect(lines.headers).toContainEqual(['Content-Type', 'application/x-ndjson']);
    await send(server.ingest, { ...lines, target: lines.target.replace('events', 'lines') });
    await server.flush();
    const rows = await query(directory.path, 'SELECT page, visits FROM demo.lines ORDER BY page');
    expect(rows).toEqual([
      { page: '/', visits: 1 },
      { page: '/pricing', visits: 3 },
    ]);
  });
});

describe('the page', () => {
  test('has each operation and needs nothing from elsewhere', async () => {
    const answer = await get('/docs');
    const text = await answer.text();
    expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
    for (const { path, operation } of operations) {
      expect(text).toContain(`<code>${path}</code>`);
      expect(text).toContain(`id="${operation.operationId}"`);
      expect(text).toContain(`href="#${operation.operationId}"`);
    }
    expect(text).not.toMatch(
      /\b(src|srcset|action|style)=|<(link|img|iframe|object|base|form a)\b/,
    );
    expect(text).not.toMatch(/@import|url\(|innerHTML|\son\w+=/);
    const links = [...text.matchAll(/href="([^"]*)"/g)].map(([, href]) => href);
    expect(links.filter((href) => !/^(#[\w-]+|\/openapi\.(json|yaml))$/.test(href ?? ''))).toEqual(
      [],
    );
    const ids = [...text.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const link of links.filter((href) => href?.startsWith('#'))) {
      expect(ids).toContain(link?.slice(1));
    }
  });

  test('runs nothing but its own script', async () => {
    const answer = await get('/docs');
    const policy = answer.headers.get('content-security-policy') ?? '';
    const text = await answer.text();
    for (const part of [
      "default-src 'none'",
      "connect-src 'self'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "base-uri 'none'",
    ]) {
      expect(policy.split('; ')).toContain(part);
    }
    for (const name of ['style', 'script']) {
      const inner = new RegExp(`<${name}>([^]*?)</${name}>`).exec(text)?.[1] ?? '';
      const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(inner));
      const source = `'sha256-${Buffer.from(digest).toString('base64')}'`;
      expect(policy.split('; ')).toContain(`${name}-src ${source}`);
    }
    expect(policy).not.toContain('unsafe');
    for (const path of documents) {
      expect((await get(path, 'HEAD')).headers.get('x-content-type-options')).toBe('nosniff');
    }
  });

  test('escapes what it shows, wherever it comes from', () => {
    const bad = `<script>alert("&'")</script>`;
    const evil = JSON.parse(JSON.stringify(document), (_, value: unknown) =>
      typeof value === 'string' && /[a-z] [a-z]/.test(value) ? value + bad : value,
    ) as Document;
    const text = page({ ...evil, info: { ...evil.info, title: bad } });
    expect(text.match(/<script>/g)).toHaveLength(1);
    expect(text).not.toContain('alert("');
    expect(text).toContain('&#60;script&#62;alert(&#34;&#38;&#39;&#34;)&#60;/script&#62;');
  });

  test('its commands are quoted for a shell', () => {
    const request = {
      name: '',
      summary: '',
      method: 'POST',
      target: '/a',
      headers: [['Content-Type', 'application/json']] as const,
      body: `{"it's":1}`,
    };
    expect(curl(request, false)).toBe(
      `curl -i -X POST \\\n  'http://localhost:8080/a' \\\n` +
        `  -H 'Content-Type: application/json' \\\n  -d '{"it'\\''s":1}'`,
    );
  });

  test('the first command is the one of the specification', () => {
    const found = operations.find(({ operation }) => operation.operationId === 'sendEvent');
    if (!found) throw new Error('no operation');
    const { path, method, operation } = found;
    const [first] = exampleRequests(document, path, method, operation);
    expect(first && curl(first, false)).toBe(
      [
        'curl -i -X POST \\',
        "  'http://localhost:8080/postback/v3/event/demo/events' \\",
        "  -H 'Content-Type: application/json' \\",
        "  -H 'X-TD-Write-Key: YOUR_WRITE_KEY' \\",
        "  -d '{",
        '    "param1": "value1",',
        '    "param2": "value2"',
        "  }'",
      ].join('\n'),
    );
  });

  test('the key of each form is told', () => {
    const text = page(document);
    for (const scheme of Object.values<SecurityScheme>(document.components.securitySchemes)) {
      expect(text).toContain(`<code>${scheme.name ?? 'Authorization'}</code>`);
    }
  });
});
