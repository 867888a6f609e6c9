import { fingerprintOf } from '../src/event/index.ts';

/** What becomes of an event, besides a row as it was sent. */
export type Fate = 'row' | 'rescued' | 'repeat' | 'unknown_key' | 'key_not_allowed' | 'id_reused';

/** A way in which an event does not fit. */
export type Way = {
  readonly name: string;
  readonly fate: Fate;
  /** The event's JSON, from one that fits. */
  readonly write: (event: string) => string;
  readonly database?: string;
  readonly fingerprint?: Buffer;
  /** Whether it comes with the id of an earlier event. */
  readonly hasOldId?: boolean;
};

const asItIs = (event: string) => event;

/** Events of `events.ts`, each spoilt in one way; the first five have the wrong type. */
export const ways: readonly Way[] = [
  rescued('text-for-bigint', set('quantity', '"many"')),
  rescued('text-for-double', set('price', '"much"')),
  rescued('text-for-boolean', set('is_member', '"perhaps"')),
  rescued('object-for-varchar', set('user', '{"name":"x"}')),
  row('number-for-json', set('page', '42')),
  rescued('65-bits', set('quantity', '36893488147419103232')),
  rescued('400-digits', set('quantity', '9'.repeat(400))),
  rescued('1e400', set('price', '1e400')),
  rescued('surrogate-in-value', set('kind', '"\\ud800"')),
  row('surrogate-in-name', add('"\\ud800":1')),
  row('nul', set('kind', '"a\\u0000b"')),
  rescued('same-key', add('"quantity":1')),
  rescued('other-case', add('"Quantity":1')),
  rescued('long-name', add(`"${'n'.repeat(300)}":1`)),
  rescued('deep', set('page', '['.repeat(600) + ']'.repeat(600))),
  rescued('1000-keys', add(Array.from({ length: 1_000 }, (_, at) => `"k${at}":${at}`).join())),
  rescued('odd-time', add('"time":"soon","td_record_time":"soon"')),
  { ...row('unknown-key', asItIs), fate: 'unknown_key', fingerprint: fingerprintOf('nobody’s') },
  { ...row('key-not-allowed', asItIs), fate: 'key_not_allowed', database: 'elsewhere' },
  { ...row('id-reused', asItIs), fate: 'id_reused', hasOldId: true },
  { ...row('repeat', asItIs), fate: 'repeat', hasOldId: true },
];

function row(name: string, write: Way['write']): Way {
  return { name, fate: 'row', write };
}

function rescued(name: string, write: Way['write']): Way {
  return { name, fate: 'rescued', write };
}

function set(key: string, value: string): Way['write'] {
  const member = new RegExp(`"${key}":(?:\\{.*?\\}|"[^"]*"|[^,]*)`);
  return (event) => event.replace(member, `"${key}":${value}`);
}

function add(members: string): Way['write'] {
  return (event) => `${event.slice(0, -1)},${members}}`;
}
