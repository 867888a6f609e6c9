import { fault, type MillraceError } from '../base/index.ts';

/** Where a request goes. The names are as in the path, percent-decoded, not yet checked. */
export type Route = {
  readonly database: string;
  readonly table: string;
  /** Query parameter `td_write_key`. */
  readonly keyQuery: string | undefined;
};

const postbackPath = /^\/postback\/v3\/event\/([^/]+)\/([^/]+)\/?$/;

/** Finds the route of a request line. */
export function route(method: string, url: string): Route | MillraceError {
  const queryAt = url.indexOf('?');
  // A proxy may send the whole address as the target.
  const path = (queryAt === -1 ? url : url.slice(0, queryAt)).replace(/^https?:\/\/[^/]*/i, '');
  const match = postbackPath.exec(path);
  if (!match) return fault('NO_SUCH_PATH');
  if (method !== 'POST') return fault('BAD_METHOD', { seen: method, expected: 'POST' });
  const query = queryAt === -1 ? '' : url.slice(queryAt + 1);
  const keyQuery = query
    ? (new URLSearchParams(query).get('td_write_key') ?? undefined)
    : undefined;
  return { database: decode(match[1] ?? ''), table: decode(match[2] ?? ''), keyQuery };
}

/** What does not decode stays as it is; the check of names refuses it. */
function decode(segment: string): string {
  if (!segment.includes('%')) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
