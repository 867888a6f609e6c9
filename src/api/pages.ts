import { hash } from 'node:crypto';
import type { Answer } from '../wire/index.ts';
import { openapi } from './openapi.ts';
import { page } from './page.ts';
import { script } from './page-script.ts';
import { style } from './page-style.ts';

/** The document as text: the one that is served. */
export async function openapiText(version: string, format: 'json' | 'yaml'): Promise<string> {
  const document = openapi(version);
  if (format === 'json') return `${JSON.stringify(document, null, 2)}\n`;
  const { stringify } = await import('yaml');
  // What is used twice is written twice: many readers of YAML know no anchors.
  return stringify(document, { aliasDuplicateObjects: false, lineWidth: 100 });
}

const noSniff = ['X-Content-Type-Options', 'nosniff'] as const;
/** Only this page's own style and script, and only this server to talk to. */
const policy = [
  "default-src 'none'",
  `style-src ${sourceOf(style)}`,
  `script-src ${sourceOf(script)}`,
  "connect-src 'self'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join('; ');

/** The documents of the collector, by path; each is made when it is first asked for. */
export function pages(version: string): ReadonlyMap<string, () => Promise<Answer>> {
  const guarded = [
    ['Content-Security-Policy', policy],
    ['Referrer-Policy', 'no-referrer'],
  ] as const;
  return new Map([
    ['/openapi.json', once('application/json', () => openapiText(version, 'json'))],
    ['/openapi.yaml', once('application/yaml', () => openapiText(version, 'yaml'))],
    ['/docs', once('text/html; charset=utf-8', () => page(openapi(version)), guarded)],
  ]);
}

/** An answer that is made once. */
function once(
  type: string,
  text: () => string | Promise<string>,
  more: Answer['headers'] = [],
): () => Promise<Answer> {
  let made: Promise<Answer> | undefined;
  const make = async () => {
    return { status: 200, type, body: await text(), headers: [noSniff, ...more] };
  };
  return () => (made ??= make());
}

function sourceOf(text: string): string {
  return `'sha256-${hash('sha256', text, 'base64')}'`;
}
