import { type Member, membersOf } from './members.ts';
import type { Context, Dialect, Postback } from './postback.ts';
import { isoTime, ownTime, recordTime, secondsIn, secondsOf } from './time.ts';
import { agentOf } from './user-agent.ts';

/** What an event becomes: its row, before it meets its table. */
export type EventRecord = {
  /** UNIX seconds. */
  readonly time: number;
  readonly timeFrom: TimeSource;
  /** `td_record_time` less the receipt; NaN if it is no time; undefined if there is none. */
  readonly skewSeconds: number | undefined;
  /** What makes a repeat of the event recognizable, within its table. */
  readonly id: string | undefined;
  /** In the order of the body. Members that only steer are not among them. */
  readonly members: readonly Member[];
};

export type TimeSource = 'receipt' | 'td_record_time' | 'time' | 'keen.timestamp' | '#SSUT';

/** A value that is its own name asks to be replaced by what the server knows. */
export const placeholders = [
  'td_ip',
  'td_ua',
  'td_global_id',
  'td_browser',
  'td_browser_version',
  'td_os',
  'td_os_version',
] as const;

export type Placeholder = (typeof placeholders)[number];

type Rules = {
  /** Whether a record's own `time` is the row's. */
  readonly hasTime: boolean;
  /** Whether `uuid` is the event's id and no column. */
  readonly hasUuid: boolean;
  readonly hasPlaceholders: boolean;
};

const rules: Readonly<Record<Dialect, Rules>> = {
  postback: { hasTime: false, hasUuid: false, hasPlaceholders: true },
  query: { hasTime: false, hasUuid: false, hasPlaceholders: true },
  js: { hasTime: true, hasUuid: false, hasPlaceholders: true },
  ingest: { hasTime: true, hasUuid: true, hasPlaceholders: false },
  ingest_js: { hasTime: true, hasUuid: true, hasPlaceholders: true },
  ingest_mobile: { hasTime: true, hasUuid: true, hasPlaceholders: true },
  keen: { hasTime: false, hasUuid: false, hasPlaceholders: false },
};

/** Whether a dialect replaces placeholders. */
export function replaces(dialect: Dialect): boolean {
  return rules[dialect].hasPlaceholders;
}

/** Reads an event by the rules of its dialect. */
export function readRecord(postback: Postback): EventRecord {
  const { dialect, context, receivedAtMs, fingerprint, index } = postback;
  const draft: Draft = {
    members: [...membersOf(postback.body.toString('utf8'))],
    received: secondsOf(receivedAtMs),
  };
  const { hasTime, hasUuid, hasPlaceholders } = rules[dialect];
  if (hasPlaceholders) replacePlaceholders(draft, postback);
  if (addsAddress(dialect)) addAddress(draft, context);
  if (dialect === 'keen') readKeen(draft);
  if (hasTime) readTime(draft, context);
  if (hasUuid) draft.id = takeUuid(draft);
  if (draft.id === undefined && context.idempotencyKey !== undefined) {
    // Of its sender's making, so it names nothing of another sender.
    draft.id = `key ${fingerprint.toString('hex')} ${context.idempotencyKey}/${index}`;
  }
  readRecordTime(draft, context, receivedAtMs);
  const { members, time = draft.received, timeFrom = 'receipt', id } = draft;
  const skewSeconds = skewOf(draft, context, receivedAtMs);
  return { time, timeFrom, skewSeconds, id, members };
}

/** The UUID in `uuid`, as it was sent; undefined if there is none. */
export function givenUuid(body: Buffer): string | undefined {
  return body.includes('"uuid"') ? uuidIn(membersOf(body.toString('utf8')))?.uuid : undefined;
}

function uuidIn(members: readonly Member[]): { member: Member; uuid: string } | undefined {
  const member = members.find(({ key }) => key === 'uuid');
  const uuid = member && textOf(member);
  const isOne = uuid !== undefined && /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i.test(uuid);
  return member && isOne ? { member, uuid } : undefined;
}

type Draft = {
  members: Member[];
  readonly received: number;
  time?: number;
  timeFrom?: TimeSource;
  id?: string | undefined;
};

function find(draft: Draft, key: string): Member | undefined {
  return draft.members.find((member) => member.key === key);
}

function take(draft: Draft, member: Member): void {
  draft.members = draft.members.filter((other) => other !== member);
}

function setTime(draft: Draft, time: number, timeFrom: TimeSource): void {
  draft.time = time;
  draft.timeFrom = timeFrom;
}

function readRecordTime(draft: Draft, context: Context, receivedAtMs: number): void {
  if (draft.time !== undefined) return;
  const time =
    recordTime(find(draft, 'td_record_time'), receivedAtMs) ??
    recordTime(asString('td_record_time', context.recordTime), receivedAtMs);
  if (time !== undefined) setTime(draft, time, 'td_record_time');
}

function skewOf(draft: Draft, context: Context, receivedAtMs: number): number | undefined {
  const given = find(draft, 'td_record_time') ?? asString('td_record_time', context.recordTime);
  if (given === undefined || given.kind === 'null') return undefined;
  return secondsIn(given) - secondsOf(receivedAtMs);
}

/** What is not taken over whole stays, and so ends in `_rescued_data`. */
function readTime(draft: Draft, context: Context): void {
  const given = find(draft, 'time');
  const time = ownTime(given) ?? ownTime(asString('time', context.time));
  if (time === undefined) return;
  setTime(draft, time, 'time');
  if (given && (given.text === String(time) || given.text === `"${time}"`)) take(draft, given);
}

function takeUuid(draft: Draft): string | undefined {
  const given = uuidIn(draft.members);
  if (!given) return undefined;
  take(draft, given.member);
  return `uuid ${given.uuid.toLowerCase()}`;
}

/** Whether a body may have a placeholder: its word, as a name and as a value. */
export function mayAsk(body: Buffer, name: Placeholder): boolean {
  const word = `"${name}"`;
  const at = body.indexOf(word);
  return at !== -1 && body.includes(word, at + word.length);
}

function replacePlaceholders(draft: Draft, { body, context }: Postback): void {
  draft.members = draft.members.flatMap((member) => {
    const name = placeholders.find((key) => key === member.key);
    const isAsked = name !== undefined && member.text === `"${name}"` && mayAsk(body, name);
    if (!isAsked) return [member];
    const value = valueOf(name, context);
    return value === undefined ? [] : [{ ...member, text: JSON.stringify(value) }];
  });
}

function valueOf(name: Placeholder, { ip, userAgent, globalId }: Context): string | undefined {
  switch (name) {
    case 'td_ip':
      return ip;
    case 'td_ua':
      return userAgent;
    case 'td_global_id':
      return globalId;
    case 'td_browser':
    case 'td_browser_version':
    case 'td_os':
    case 'td_os_version':
      return userAgent === undefined ? undefined : agentOf(userAgent)[name];
  }
}

/** Whether a dialect's records get `td_ip`: phones and pages ask for it by their media types. */
export function addsAddress(dialect: Dialect): boolean {
  return dialect === 'ingest_mobile' || dialect === 'ingest_js';
}

/** An event's own value stays. */
function addAddress(draft: Draft, { ip }: Context): void {
  if (ip === undefined || find(draft, 'td_ip')) return;
  draft.members.push({ key: 'td_ip', kind: 'string', text: JSON.stringify(ip) });
}

/** The forms of Keen's SDKs: `keen.timestamp`, `#UUID`, `#SSUT`. */
function readKeen(draft: Draft): void {
  const keen = find(draft, 'keen');
  const inside = keen?.kind === 'nested' ? keenMembers(keen.text) : [];
  const timestamp = inside.find(({ key }) => key === 'timestamp');
  const text = timestamp && textOf(timestamp);
  const time = text === undefined ? undefined : isoTime(text);
  if (time !== undefined) setTime(draft, time, 'keen.timestamp');
  if (keen && time !== undefined && inside.length === 1) take(draft, keen);
  const uuid = find(draft, '#UUID');
  const id = uuid && textOf(uuid);
  if (uuid && id) {
    draft.id = `#UUID ${id}`;
    take(draft, uuid);
  }
  const upload = find(draft, '#SSUT');
  if (upload?.text === 'true') {
    setTime(draft, draft.received, '#SSUT');
    take(draft, upload);
  } else if (upload?.kind === 'string') {
    take(draft, upload);
    const key = textOf(upload) ?? '';
    draft.members.push({ key, kind: 'integer', text: String(draft.received) });
  } else if (upload?.text === 'false') take(draft, upload);
}

function keenMembers(text: string): readonly Member[] {
  return text.startsWith('{') ? membersOf(text) : [];
}

function asString(key: string, value: string | undefined): Member | undefined {
  return value === undefined ? undefined : { key, kind: 'string', text: JSON.stringify(value) };
}

function textOf(member: Member): string | undefined {
  return member.kind === 'string' ? (JSON.parse(member.text) as string) : undefined;
}
