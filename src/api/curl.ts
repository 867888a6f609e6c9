import { type Document, type Operation, type Parameter, resolved } from './document.ts';
import type { RequestBody, SecurityScheme } from './document.ts';

/** What stands in an example for the server and the key; the page puts the real ones there. */
export const placeholders = { origin: 'http://localhost:8080', key: 'YOUR_WRITE_KEY' } as const;

/** A request that an operation gives as an example. */
export type ExampleRequest = {
  readonly name: string;
  readonly summary: string;
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string | undefined;
};

/** The examples of an operation, one for each example of its body, with `key` as the key. */
export function exampleRequests(
  document: Document,
  path: string,
  method: string,
  operation: Operation,
  key: string = placeholders.key,
): readonly ExampleRequest[] {
  const { target, headers } = headOf(document, path, operation, key);
  return bodiesOf(operation.requestBody).map(({ name, summary, type, value }) => {
    const body = value === undefined ? undefined : shown(value);
    const typed = type === undefined ? [] : [['Content-Type', type] as const];
    const request = { name, summary, method: method.toUpperCase(), target, body };
    return { ...request, headers: [...typed, ...headers] };
  });
}

/** A command that can be pasted into a shell. @param isBinary whether the answer is no text. */
export function curl(request: ExampleRequest, isBinary: boolean): string {
  const { method, target, headers, body } = request;
  const parts = [
    `curl ${isBinary ? '-D - -o pixel.gif' : '-i'}${method === 'GET' ? '' : ` -X ${method}`}`,
    quoted(placeholders.origin + target),
    ...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`),
    ...(body === undefined ? [] : [`-d ${quoted(body)}`]),
  ];
  return parts.join(' \\\n  ');
}

type ExampleBody = Pick<ExampleRequest, 'name' | 'summary'> & {
  readonly type?: string;
  readonly value?: unknown;
};

function bodiesOf(body: RequestBody | undefined): readonly ExampleBody[] {
  if (!body) return [{ name: '', summary: '' }];
  return Object.entries(body.content).flatMap(([type, { examples = {} }]) =>
    Object.entries(examples).map(([name, { summary, value }]) => ({ name, summary, type, value })),
  );
}

/** All but the body: what has an example, and the key in the form that is named first. */
function headOf(document: Document, path: string, operation: Operation, key: string) {
  const parameters = operation.parameters.map((one) => resolved<Parameter>(document, one));
  const query: (readonly [name: string, value: string])[] = [];
  const headers: (readonly [name: string, value: string])[] = [];
  let filled = path;
  for (const { name, in: where, example } of parameters) {
    if (example === undefined) continue;
    const isSpread = typeof example === 'object' && example !== null;
    const values = isSpread ? Object.entries(example) : [[name, example] as const];
    const texts = values.map(([inner, value]) => [inner, shown(value)] as const);
    if (where === 'path') filled = filled.replace(`{${name}}`, encodeURIComponent(shown(example)));
    else (where === 'query' ? query : headers).push(...texts);
  }
  const scheme = schemesOf(document, operation)[0];
  if (scheme?.type === 'http') headers.push(['Authorization', `${scheme.scheme} ${key}`]);
  else if (scheme?.in === 'header') headers.push([scheme.name ?? '', key]);
  else if (scheme) query.unshift([scheme.name ?? '', key]);
  const search = query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
  return { target: search === '' ? filled : `${filled}?${search}`, headers };
}

/** The ways in which an operation takes a key. */
export function schemesOf(document: Document, { security }: Operation): readonly SecurityScheme[] {
  return security
    .flatMap((one) => Object.keys(one))
    .flatMap((name) => document.components.securitySchemes[name] ?? []);
}

function shown(value: unknown): string {
  return typeof value === 'string' ? value : indented(value);
}

/** JSON as it stands in a command, below its first line. */
function indented(value: unknown): string {
  return JSON.stringify(value, null, 2).replaceAll('\n', '\n  ');
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
