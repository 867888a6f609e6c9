import type { Member } from './members.ts';

const daySeconds = 86_400;
const windowBackSeconds = 7 * daySeconds;
const windowAheadSeconds = 3 * daySeconds;

/**
 * The row's `time`, UNIX seconds: `td_record_time` if it lies within −7 … +3 days of receipt
 * (numbers and numeric strings, fractions cut off), else the time of receipt.
 * Source: Postback API 1.0.0, "Suggested Parameters".
 */
export function recordTime(given: Member | undefined, receivedAtMs: number): number {
  const received = Math.floor(receivedAtMs / 1000);
  const seconds = Math.floor(numberOf(given));
  const inWindow =
    seconds >= received - windowBackSeconds && seconds <= received + windowAheadSeconds;
  return inWindow ? seconds : received;
}

function numberOf(member: Member | undefined): number {
  if (member?.kind === 'integer' || member?.kind === 'fraction') return Number(member.text);
  const quoted = member?.kind === 'string' ? /^"(\d+(\.\d+)?)"$/.exec(member.text) : null;
  return quoted ? Number(quoted[1]) : NaN;
}
