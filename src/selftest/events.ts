/*
 * The events of a run. An event is its number and its lane: text and row follow from these, so the
 * oracle need not remember what was sent, and still knows each byte of it.
 */

/** What the key of an event may do. */
type KeyKind =
  /** Write to the table. */
  | 'good'
  /** Nothing yet: it is made known later, taken back, made known again. */
  | 'later'
  /** Nothing: nobody ever makes it known. */
  | 'unknown'
  /** Write to another database. */
  | 'foreign';

/** A stream of events of one kind. */
export type Lane = {
  readonly table: string;
  readonly key: KeyKind;
  /** Each event names itself by a `uuid`, and may be sent again. */
  readonly hasUuid: boolean;
};

export const database = 'selftest';
export const tables = ['clicks', 'orders', 'visits'] as const;

const [clicks, orders, visits] = tables;
/** Each reason for quarantine has a table of its own, which tells it from the others. */
export const lanes: readonly Lane[] = [
  { table: clicks, key: 'good', hasUuid: false },
  { table: orders, key: 'good', hasUuid: false },
  { table: visits, key: 'good', hasUuid: true },
  { table: clicks, key: 'later', hasUuid: false },
  { table: visits, key: 'later', hasUuid: true },
  { table: orders, key: 'unknown', hasUuid: false },
  { table: visits, key: 'foreign', hasUuid: false },
];

/** Where events go whose key nobody ever makes known, and no others with an unknown key. */
export const unknownTable = orders;

/** Columns that come to a table one after another, while it is loaded. */
const lateColumns = 8;
const eventsPerLateColumn = 1_000;
const letters = 'The quick brown fox: "é" \\ 日本 🦊 jumps over <b>the</b> lazy dog; ';
const filling = letters.repeat(Math.ceil(40_000 / letters.length));

/** An event as it is sent, and the columns of its row that are ours to know. */
export type Event = { readonly body: string; readonly row: Row };
export type Row = Readonly<Record<string, string | number | null>>;

/** One value in thirteen does not fit its column. Some events span many pages. */
export function eventOf(number: number, { hasUuid }: Lane): Event {
  const isMisfit = number % 13 === 5;
  const length = number % 50 === 7 ? 1_000 + ((number * 7_919) % 19_000) : (number * 31) % 200;
  // A cut within a pair would leave half of it, which is a case of its own: see test/values.
  const pad = filling.slice(number % 20, (number % 20) + length).replace(/[\ud800-\udbff]$/, '');
  const value = isMisfit ? `no number: ${number}` : number / 2 + 0.25;
  const late = `x${Math.floor(number / eventsPerLateColumn) % lateColumns}`;
  const uuid = hasUuid ? { uuid: uuidOf(number) } : {};
  const body = JSON.stringify({ n: number, ...uuid, value, pad, [late]: number });
  const row = isMisfit
    ? { n: number, value: null, pad, [late]: number, _rescued_data: JSON.stringify({ value }) }
    : { n: number, value, pad, [late]: number, _rescued_data: null };
  return { body, row };
}

function uuidOf(number: number): string {
  return `5e1f7e57-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;
}

/** The number of an event, by its bytes; undefined if it has none of ours. */
export function numberIn(body: string): number | undefined {
  const [, digits] = /^\{"n":(\d{1,15})[,}]/.exec(body) ?? [];
  return digits === undefined ? undefined : Number(digits);
}
