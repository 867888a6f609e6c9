import type { Member } from './members.ts';

const daySeconds = 86_400;
const windowBackSeconds = 7 * daySeconds;
const windowAheadSeconds = 3 * daySeconds;
/** The end of the year 9999: what is later was not meant as seconds. */
const secondsMax = 253_402_300_799;

/**
 * `td_record_time`, UNIX seconds, if it lies within −7 … +3 days of receipt (numbers and numeric
 * strings, fractions cut off); else undefined.
 * Source: Postback API 1.0.0, "Suggested Parameters".
 */
export function recordTime(given: Member | undefined, receivedAtMs: number): number | undefined {
  const received = secondsOf(receivedAtMs);
  const seconds = secondsIn(given);
  const inWindow =
    seconds >= received - windowBackSeconds && seconds <= received + windowAheadSeconds;
  return inWindow ? seconds : undefined;
}

/** A record's own `time`, UNIX seconds, of any age, fractions cut off; where a dialect has one. */
export function ownTime(given: Member | undefined): number | undefined {
  const seconds = secondsIn(given);
  return seconds >= 0 && seconds <= secondsMax ? seconds : undefined;
}

/** An ISO 8601 time with its zone, as UNIX seconds. */
export function isoTime(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/.test(text)) return undefined;
  const ms = Date.parse(text);
  return ms >= 0 && ms <= secondsMax * 1000 ? secondsOf(ms) : undefined;
}

export function secondsOf(ms: number): number {
  return Math.floor(ms / 1000);
}

/** Characters of a time in a string, each written as an escape at the longest. */
const quotedMax = 200;

/** A number or a numeric string, its fraction cut off; NaN if it is neither. */
export function secondsIn(given: Member | undefined): number {
  return Math.floor(numberOf(given));
}

function numberOf(member: Member | undefined): number {
  if (member?.kind === 'integer' || member?.kind === 'fraction') return Number(member.text);
  if (member?.kind !== 'string' || member.text.length > quotedMax) return NaN;
  const text = JSON.parse(member.text) as string;
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
}
