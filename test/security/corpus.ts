import { readFileSync } from 'node:fs';

/**
 * One case in each line of `smuggling.jsonl`: its bytes (a character for each), the statuses of the
 * answers, whether the connection stays open, and whose events are stored. In its texts `{post}`
 * begins the request of the case, with `line` as its first line if there is one; `{next}` is a
 * whole good request behind it.
 */
export type Case = {
  readonly name: string;
  readonly line?: string;
  readonly bytes: string;
  readonly answers: readonly number[];
  readonly then: 'open' | 'closed';
  readonly stored: readonly ('self' | 'next')[];
};

export const cases = readFileSync(new URL('smuggling.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Case);

const postTo = (table: string) => `POST /postback/v3/event/smuggling/${table} HTTP/1.1`;

/** What is sent; events go to tables of the database `smuggling`. */
export function bytesOf({ name, line = postTo(name), bytes }: Case, key: string): Buffer {
  const headers = `Host: edge\r\nX-TD-Write-Key: ${key}\r\n`;
  const next = `${postTo(nextOf(name))}\r\n${headers}Content-Length: 7\r\n\r\n{"a":1}`;
  const begin = `${line.replace('{name}', name)}\r\n${headers}`;
  return Buffer.from(bytes.replace('{post}', begin).replace('{next}', next), 'latin1');
}

/** The table of the request behind a case. */
export function nextOf(name: string): string {
  return `${name}_next`;
}
