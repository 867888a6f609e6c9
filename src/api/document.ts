/** The parts of OpenAPI 3.1 that are used here. */
export type Document = {
  readonly openapi: string;
  readonly info: Readonly<Record<'title' | 'version' | 'summary' | 'description', string>> & {
    readonly license: { readonly name: string; readonly identifier: string };
  };
  readonly servers: readonly { readonly url: string; readonly description: string }[];
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, PathItem>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly parameters: Readonly<Record<string, Parameter>>;
    readonly headers: Readonly<Record<string, Header>>;
    readonly responses: Readonly<Record<string, Response>>;
    readonly securitySchemes: Readonly<Record<string, SecurityScheme>>;
  };
};

export type Method = 'get' | 'post';
export type PathItem = { readonly [M in Method]?: Operation };

export type Operation = {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description: string;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters: readonly (Parameter | Ref)[];
  readonly requestBody?: RequestBody;
  readonly responses: Readonly<Record<string, Response | Ref>>;
};

export type Ref = { readonly $ref: string; readonly description?: string };

/** A parameter with an `example` is part of the example of its operation. */
export type Parameter = {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly description: string;
  readonly required?: true;
  readonly schema: Schema;
  readonly example?: unknown;
};

export type RequestBody = {
  readonly description: string;
  readonly required: boolean;
  readonly content: Content;
};

export type Response = {
  readonly description: string;
  readonly headers?: Readonly<Record<string, Header | Ref>>;
  readonly content?: Content;
};

export type Content = Readonly<Record<string, Media>>;
export type Media = { readonly schema: Schema; readonly examples?: Examples };
/** A request and the answer to it have examples of the same name. */
export type Examples = Readonly<Record<string, Example>>;
export type Example = { readonly summary: string; readonly value: unknown };
export type Header = { readonly description: string; readonly schema: Schema };
export type SecurityScheme = Readonly<Record<string, string>> & {
  readonly description: string;
};

/** JSON Schema. */
export type Schema = { readonly [keyword: string]: unknown };

type Component = keyof Document['components'];

/** Points to a component; a description given here stands in place of the component's own. */
export function ref(kind: Component, name: string, description?: string): Ref {
  const target = { $ref: `#/components/${kind}/${name}` };
  return description === undefined ? target : { ...target, description };
}

/** What a reference points to. */
export function resolved<T extends object>(document: Document, part: T | Ref): T {
  if (!('$ref' in part)) return part;
  const { $ref, ...rest } = part;
  const [, , kind = '', name = ''] = $ref.split('/');
  const found = document.components[kind as Component]?.[name];
  return { ...found, ...rest } as unknown as T;
}

/** A number as people read it. */
export function count(number: number): string {
  return number.toLocaleString('en-US');
}
