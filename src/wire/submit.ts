import { fault, limits } from '../base/index.ts';
import { type Context, type Dialect, type Group, mayAsk, placeholders } from '../event/index.ts';
import { addsAddress, replaces, type Submission } from '../event/index.ts';
import { cookieHeader, globalIdOf, knownGlobalId } from './global-id.ts';
import { mayAskForSome } from './records.ts';
import { type Answer, keyOf, utf8Of, type WireRequest } from './request.ts';

/** A submission, and the headers that its answer needs. */
type Submitted = {
  readonly submission: Submission;
  readonly headers: Answer['headers'];
};

type Parts = {
  readonly dialect: Dialect;
  readonly groups: readonly Group[];
  /** Whether a body may ask for something of its sender, where that is known already. */
  readonly mayAsk?: boolean;
  /** Name of the query's parameter with the write key. */
  readonly keyParameter?: string;
};

/**
 * Puts the events of a request together with what the request says of them. Only what an event
 * asks for is kept of the sender: its address, its browser, its id across sites.
 * @throws MISSING_KEY, BAD_KEY_FORM, BAD_IDEMPOTENCY_KEY
 */
export function submit(request: WireRequest, parts: Parts): Submitted {
  const { dialect, groups } = parts;
  const fingerprint = keyOf(request, parts.keyParameter);
  const mayReplace = replaces(dialect) && (parts.mayAsk ?? groups.some(mayHoldPlaceholders));
  const asked = mayReplace ? askedFor(groups) : noneAsked;
  // A page that is being left sends no cookie and takes none: a new id would be nobody's.
  const isLeaving = request.method === 'POST' && request.body.length === 0;
  const idOf = isLeaving ? knownGlobalId : globalIdOf;
  const globalId = asked.globalId ? idOf(request) : undefined;
  const context: Context = {
    ...(asked.ip || addsAddress(dialect) ? { ip: request.clientAddress } : {}),
    ...(asked.userAgent ? optional('userAgent', textOf(request.headers['user-agent'])) : {}),
    ...optional('globalId', globalId),
    ...(dialect === 'js' ? optional('time', request.query.get('time')) : {}),
    ...(dialect === 'query' ? {} : optional('recordTime', request.query.get('td_record_time'))),
    ...optional('idempotencyKey', idempotencyKeyOf(request)),
  };
  const { receivedAtMs } = request;
  return {
    submission: { dialect, receivedAtMs, fingerprint, context, groups },
    headers: globalId === undefined ? [] : [cookieHeader(globalId)],
  };
}

const noneAsked = { ip: false, userAgent: false, globalId: false };

function mayHoldPlaceholders({ bodies }: Group): boolean {
  return bodies.some(mayAskForSome);
}

/** Placeholders that stand in the bodies; whether as a value of their own name is seen later. */
function askedFor(groups: readonly Group[]): typeof noneAsked {
  const bodies = groups.flatMap((group) => group.bodies);
  const found = new Set<string>(
    placeholders.filter((name) => bodies.some((body) => mayAsk(body, name))),
  );
  const ofAgent = ['td_ua', 'td_browser', 'td_browser_version', 'td_os', 'td_os_version'];
  return {
    ip: found.has('td_ip'),
    userAgent: ofAgent.some((name) => found.has(name)),
    globalId: found.has('td_global_id'),
  };
}

/** A header's text: Node gives one character a byte. */
function textOf(header: string | undefined): string | undefined {
  return header === undefined ? undefined : utf8Of(header);
}

function idempotencyKeyOf({ headers }: WireRequest): string | undefined {
  const key = headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (key.length < 1 || key.length > limits.idempotencyKeyMax) {
    const { idempotencyKeyMax: expected } = limits;
    throw fault('BAD_IDEMPOTENCY_KEY', { seen: key.length, expected });
  }
  return key;
}

function optional<N extends string>(name: N, value: string | undefined): { [K in N]?: string } {
  return (value === undefined ? {} : { [name]: value }) as { [K in N]?: string };
}
