import { assert } from '../base/index.ts';
import { type Route, type RouteName, routes } from '../wire/index.ts';
import { batches } from './batches.ts';
import { components } from './components.ts';
import { type Described, type DescribedMethods, header, media, paragraphs } from './described.ts';
import {
  count,
  type Document,
  type Method,
  type Operation,
  type PathItem,
  ref,
} from './document.ts';
import type { RequestBody, Schema } from './document.ts';
import { postback, tryingOut } from './postback.ts';
import { refusals, refusalsOf } from './refusals.ts';
import { ids, script } from './script.ts';

const described: Readonly<Record<RouteName, DescribedMethods>> = {
  postback,
  js: script,
  ...batches,
  ...ids,
  ...tryingOut,
};

const tags: Document['tags'] = [
  { name: 'Postback', description: 'One event, or many, for one table.' },
  { name: 'Trying out', description: 'Nothing is stored here.' },
  { name: 'Pages', description: 'What scripts in web pages send, and the ids of visitors.' },
  { name: 'Batches', description: 'Many events at once, with a receipt for each.' },
  { name: 'Documents', description: 'This description.' },
];

const text: Schema = { type: 'string' };
const integer: Schema = { type: 'integer' };
const boolean: Schema = { type: 'boolean' };

/** The schema of the dry run's answer. */
const explanation: Schema = object({
  stored: { const: false },
  events: list(
    {
      database: text,
      table: text,
      tableIsNew: {
        ...boolean,
        description: 'Only for a key that may write to the table; for others it is taken as new.',
      },
      becomes: { enum: ['row', 'quarantine'] },
      key: { enum: ['ok', 'unknown_key', 'key_revoked', 'key_expired', 'key_not_allowed'] },
      time: object({ value: integer, iso: { ...text, format: 'date-time' }, why: text }),
      columns: list({
        key: text,
        column: text,
        type: { enum: ['BIGINT', 'DOUBLE', 'BOOLEAN', 'VARCHAR', 'JSON'] },
        isNew: boolean,
        value: {
          description: 'As it would be stored; integers that JSON readers round are texts.',
        },
      }),
      rescued: list({ key: text, text: { ...text, description: 'The value, exact.' }, why: text }),
      warnings: { type: 'array', items: text },
    },
    ['tableIsNew'],
  ),
});

/** An object whose members are all there, except some. */
function object(properties: Record<string, Schema>, optional: readonly string[] = []): Schema {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: 'object', properties, required };
}

function list(properties: Record<string, Schema>, optional: readonly string[] = []): Schema {
  return { type: 'array', items: object(properties, optional) };
}

/** The wire as an OpenAPI 3.1 document: every route, and the documents themselves. */
export function openapi(version: string): Document {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Millrace',
      version,
      summary: 'From an HTTP POST to a row in a SQL table.',
      description: paragraphs(
        'A 200 to events means that they are on disk. Each then appears in its table exactly ' +
          'once, or in `millrace.quarantine` with its exact bytes and the reason. Any 4xx or 5xx ' +
          'means that nothing of the request was stored.',
        'Every path also answers `HEAD` and `OPTIONS`, and may end in a ' +
          'slash. Scripts of any origin may read the answers. Write keys are made by the ' +
          'operator: `millrace keys create`.',
      ),
      license: { name: 'Apache License 2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'The server that gave this document.' }],
    tags,
    paths: { ...pathsOf(routes), ...documents },
    components: components({ Explanation: explanation }),
  };
}

function pathsOf(all: readonly Route[]): Record<string, PathItem> {
  const items = all.flatMap((route) =>
    route.paths.map((path) => [path, pathItem(route, path)] as const),
  );
  // The routes stand in the order in which they are tried; people read by subject.
  const order = (item: PathItem) => {
    const tag = (item.post ?? item.get)?.tags[0];
    return tags.findIndex(({ name }) => name === tag);
  };
  return Object.fromEntries(items.toSorted(([, a], [, b]) => order(a) - order(b)));
}

function pathItem(route: Route, path: string): PathItem {
  const { name, methods } = route;
  const entries = methods.map((method) => {
    const one = described[name][method];
    assert(one, 'every method of a route is described');
    return [method.toLowerCase() as Method, operation(one, path, route)] as const;
  });
  return Object.fromEntries(entries);
}

function operation(one: Described, path: string, { name, bodyBytesMax }: Route): Operation {
  const words = one.paths[path];
  assert(words, 'every path of a route is described');
  const stores = !['global_id', 'ssc', 'debug', 'mock'].includes(name);
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter = '']) => parameter);
  return {
    operationId: words.id,
    tags: [one.tag],
    summary: words.summary,
    description: one.description,
    security: one.keys.map((key) => ({ [key]: [] })),
    parameters: [
      // The mock is the only route that does not look at its names.
      ...inPath.map((parameter) => ref('parameters', pathParameter(parameter, name === 'mock'))),
      ...one.parameters.map((parameter) => ref('parameters', parameter)),
      ...(stores ? [ref('parameters', 'prefer')] : []),
    ],
    ...(one.body ? { requestBody: limited(one.body, bodyBytesMax) } : {}),
    responses: {
      ...(stores ? withReceipts(one.answers) : one.answers),
      ...refusalsOf(one.refusals),
    },
  };
}

/** What is stored is answered with its receipt. */
function withReceipts(answers: Described['answers']): Described['answers'] {
  const names = ['X-Millrace-Receipt', 'Preference-Applied', 'X-Millrace-State'];
  const receipts = Object.assign({}, ...names.map(header)) as ReturnType<typeof header>;
  const all = Object.entries(answers).map(([status, answer]) => {
    return [status, { ...answer, headers: { ...answer.headers, ...receipts } }] as const;
  });
  return Object.fromEntries(all);
}

function limited(body: RequestBody, bytesMax: number): RequestBody {
  const description = `${body.description} At most ${count(bytesMax)} bytes after decoding.`;
  return { ...body, description };
}

function pathParameter(name: string, isAny: boolean): string {
  return isAny ? `any${name.slice(0, 1).toUpperCase()}${name.slice(1)}` : name;
}

const documents: Record<string, PathItem> = {
  '/openapi.json': document('getOpenapiJson', 'This document as JSON', 'application/json', {
    type: 'object',
  }),
  '/openapi.yaml': document('getOpenapiYaml', 'This document as YAML', 'application/yaml', text),
  '/docs': document('getDocs', 'This document as a page', 'text/html', text),
};

function document(id: string, summary: string, type: string, of: Schema): PathItem {
  const get: Operation = {
    operationId: id,
    tags: ['Documents'],
    summary,
    description: 'Needs no key.',
    security: [],
    parameters: [],
    responses: {
      200: { description: 'The document.', content: media(type, of) },
      ...refusalsOf(refusals.page),
    },
  };
  return { get };
}
