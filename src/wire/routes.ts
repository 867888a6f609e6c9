import { fault, limits, type MillraceError } from '../base/index.ts';
import { receiptRefusal, refusal, scriptRefusal } from './answers.ts';
import { readGlobalId, readSsc } from './global-id.ts';
import { readIngest } from './ingest.ts';
import { readPhone } from './phone.ts';
import { readDebug, readMock, readPostback } from './postback.ts';
import { isPlainBody } from './records.ts';
import { type Answer, decodedSegment, type Outcome, type WireRequest } from './request.ts';
import { readScript } from './script.ts';

export type RouteName =
  | 'postback'
  | 'js'
  | 'phone'
  | 'global_id'
  | 'ssc'
  | 'debug'
  | 'mock'
  | 'ingest';

/** One form of the wire. */
export type Route = {
  readonly name: RouteName;
  /** As OpenAPI writes paths. */
  readonly paths: readonly string[];
  readonly methods: readonly ('GET' | 'POST')[];
  /** A body longer than this after decoding is refused. */
  readonly bodyBytesMax: number;
  /** @throws a fault of the catalogue when the request is to be refused */
  readonly read: (request: WireRequest) => Outcome;
  /**
   * Whether all but the body of what is stored, and the answer, is said by the head alone, if that
   * answer is `accepted`; bodies of other requests are looked at by `read`.
   */
  readonly isPlainBody?: (body: Buffer) => boolean;
  /** A refusal as the clients of this route read it. */
  readonly refuse: (error: MillraceError, request: WireRequest) => Answer;
};

const { bodyBytesMax: one, batchBodyBytesMax: many, explainBodyBytesMax: few } = limits;

/** Every form there is, in the order in which a path is tried. */
export const routes: readonly Route[] = [
  {
    name: 'postback',
    paths: ['/postback/v3/event/{database}/{table}'],
    methods: ['POST', 'GET'],
    bodyBytesMax: many,
    read: readPostback,
    isPlainBody,
    refuse: refusal,
  },
  {
    name: 'js',
    paths: ['/js/v3/event/{database}/{table}'],
    methods: ['POST', 'GET'],
    bodyBytesMax: one,
    read: readScript,
    refuse: scriptRefusal,
  },
  {
    name: 'phone',
    paths: ['/android/v3/event', '/ios/v3/event', '/js/v3/event'],
    methods: ['POST'],
    bodyBytesMax: many,
    read: readPhone,
    refuse: receiptRefusal,
  },
  {
    name: 'global_id',
    paths: ['/', '/js/v3/global_id', '/js/v3/enable_global_id'],
    methods: ['GET'],
    bodyBytesMax: one,
    read: readGlobalId,
    refuse: scriptRefusal,
  },
  {
    name: 'ssc',
    paths: ['/get_cookie_id'],
    methods: ['GET'],
    bodyBytesMax: one,
    read: readSsc,
    refuse: scriptRefusal,
  },
  {
    name: 'debug',
    paths: ['/debug/postback/v3/event/{database}/{table}'],
    methods: ['POST'],
    bodyBytesMax: few,
    read: readDebug,
    refuse: refusal,
  },
  {
    name: 'mock',
    paths: ['/_mock/apis/postback/openapi/postback/v3/event/{database}/{table}'],
    methods: ['POST'],
    bodyBytesMax: many,
    read: readMock,
    refuse: refusal,
  },
  {
    name: 'ingest',
    paths: ['/{database}/{table}'],
    methods: ['POST'],
    bodyBytesMax: many,
    read: readIngest,
    refuse: receiptRefusal,
  },
];

/** A path that was found, with the names in it. */
export type Found = { readonly route: Route; readonly database: string; readonly table: string };

const patterns = routes.flatMap((route) =>
  route.paths.map((path) => {
    const source = path.replace(/\{(\w+)\}/g, '(?<$1>[^/]+)');
    return { route, pattern: new RegExp(`^${source}${path === '/' ? '' : '/?'}$`) };
  }),
);
const collectorPath = /^\/(postback|js|android|ios)(\/|$)/;

/** Finds the route of a path. */
export function findRoute(path: string): Found | MillraceError {
  for (const { route, pattern } of patterns) {
    const groups = pattern.exec(path)?.groups;
    if (groups === undefined && !pattern.test(path)) continue;
    const { database = '', table = '' } = groups ?? {};
    // The collector's own paths have more segments, so one with two of them is cut short.
    if (route.name === 'ingest' && collectorPath.test(path)) break;
    return { route, database: decodedSegment(database), table: decodedSegment(table) };
  }
  return fault(collectorPath.test(path) ? 'BAD_PATH' : 'NO_SUCH_PATH');
}

/** Path and query of a request's target; a proxy may send the whole address. */
export function splitTarget(target: string): { readonly path: string; readonly search: string } {
  const queryAt = target.indexOf('?');
  const path = (queryAt === -1 ? target : target.slice(0, queryAt)).replace(
    /^https?:\/\/[^/]*/i,
    '',
  );
  return {
    path: path === '' ? '/' : path,
    search: queryAt === -1 ? '' : target.slice(queryAt + 1),
  };
}
