import type { Content, Example, Ref, RequestBody, Response, Schema } from './document.ts';
import { ref } from './document.ts';
import type { Refusals } from './refusals.ts';

/** What is said of a method of a route; the rest of an operation comes from the route itself. */
export type Described = {
  readonly tag: string;
  /** By path, in the words of that path. */
  readonly paths: Readonly<Record<string, { readonly id: string; readonly summary: string }>>;
  readonly description: string;
  /** The ways to send a key, the best one first; none if no key is asked for. */
  readonly keys: readonly string[];
  /** Names of shared parameters. */
  readonly parameters: readonly string[];
  readonly body?: RequestBody;
  readonly answers: Readonly<Record<number, Response>>;
  readonly refusals: Refusals;
};

export type DescribedMethods = Readonly<Partial<Record<'GET' | 'POST', Described>>>;

export const keys = {
  header: ['writeKeyHeader', 'writeKeyQuery', 'authorization'],
  query: ['writeKeyQuery', 'writeKeyHeader', 'authorization'],
  authorization: ['authorization', 'writeKeyHeader', 'writeKeyQuery'],
  script: ['scriptKey', 'writeKeyHeader', 'authorization'],
  scriptPost: ['writeKeyHeader', 'scriptKey', 'authorization'],
  none: [],
} as const;

/** A shared schema. */
export function schema(name: string): Schema {
  return ref('schemas', name);
}

export function header(name: string): Record<string, Ref> {
  return { [name]: ref('headers', name) };
}

/** One form of a body or an answer, with its examples. */
export function media(
  type: string,
  of: Schema,
  examples: Record<string, readonly [summary: string, value: unknown]> = {},
): Content {
  const all = Object.entries(examples).map(([name, [summary, value]]): [string, Example] => {
    return [name, { summary, value }];
  });
  const shown = all.length === 0 ? {} : { examples: Object.fromEntries(all) };
  return { [type]: { schema: of, ...shown } };
}

/** A picture of one pixel. */
export const pixel: Content = media('image/gif', {
  type: 'string',
  contentMediaType: 'image/gif',
  description: 'A transparent picture of one pixel.',
});

/** Paragraphs. */
export function paragraphs(...parts: readonly string[]): string {
  return parts.join('\n\n');
}
