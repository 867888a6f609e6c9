import fc from 'fast-check';
import { columnName, membersOf } from '../../src/event/index.ts';

/* Random events of hard values, and whether a row still holds all of one. */

/** Members as JSON text, in their order; keys may repeat. */
export type HardEvent = readonly { readonly key: string; readonly text: string }[];

const pieces = String.raw`\ud800 \udc00 \ud83d\ude00 \u0000 \/ \n \" \\ é 😀`.split(' ');
const edges = [
  '0 -0 -0.0 42.0 4.2e1 9007199254740993.0 1e19 9.3e18 1e400 -1e400 1e-400 5e-324',
  '9007199254740992 9007199254740993 9223372036854775807 -9223372036854775809 18446744073709551616',
  '2.4703282292062327e-324 1.7976931348623157e308 1.7976931348623159e308',
].flatMap((line) => line.split(' '));

const number = fc.oneof(
  fc.constantFrom(...edges),
  fc.stringMatching(/^-?(0|[1-9]\d{0,24})(\.\d{1,24})?([eE][+-]?\d{1,3})?$/),
  fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }).map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
);
const plain = fc
  .string({ unit: 'binary', maxLength: 8 })
  .map((text) => JSON.stringify(text).slice(1, -1));
const string = fc.oneof(
  fc.constantFrom('""', '"x"', '"42"', '"true"', '"1.50"', '"null"'),
  number.map((text) => `"${text}"`),
  fc
    .array(fc.oneof(fc.constantFrom(...pieces), plain), { maxLength: 4 })
    .map((all) => `"${all.join('')}"`),
);
const { value } = fc.letrec<{ value: string; nested: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom('null', 'true', 'false'),
    number,
    string,
    tie('nested'),
  ),
  nested: fc.oneof(
    fc.array(tie('value'), { maxLength: 3 }).map((all) => `[ ${all.join(' ,')}]`),
    fc.array(fc.tuple(string, tie('value')), { maxLength: 3 }).map((all) => {
      return `{${all.map(([key, text]) => `${key}: ${text}`).join(',\n')}}`;
    }),
  ),
}));
const names = 'a|b|c|A|a b|a.b||1|time|_receipt|__proto__|filename'.split('|');
const key = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...names.map((name) => `"${name}"`)) },
  string,
);

/** A few events for one table. */
export const hardEvents: fc.Arbitrary<readonly HardEvent[]> = fc.array(
  fc.array(fc.record({ key, text: value }), { maxLength: 8 }),
  { minLength: 1, maxLength: 12 },
);

export function jsonOf(event: HardEvent): string {
  return `{${event.map((member) => `${member.key}:${member.text}`).join(',')}}`;
}

/** What of an event is neither in its column nor rescued, and what is there that it had not. */
export function lost(
  event: HardEvent,
  row: Readonly<Record<string, string | null>>,
  types: Readonly<Record<string, string>>,
): readonly string[] {
  const { time: _time, _receipt, _rescued_data: rescuedText, ...columns } = row;
  const filled = new Map(Object.entries(columns).filter(([, text]) => text !== null));
  const rescued = [...membersOf(rescuedText ?? '{}')];
  const wrong: string[] = [];
  for (const member of event.filter(({ text }) => text !== 'null')) {
    const name = JSON.parse(member.key) as string;
    if (rescued[0]?.key === name && rescued[0].text === member.text) {
      rescued.shift();
      continue;
    }
    const column = columnName(name);
    const seen = filled.get(column);
    filled.delete(column);
    const isHeld = typeof seen === 'string' && holds(types[column], seen, member.text);
    if (!isHeld) wrong.push(`${member.key}: ${member.text} is ${seen}`);
  }
  const extra = [...rescued.map(({ key: name }) => name), ...filled.keys()];
  return [...wrong, ...extra.map((name) => `${name}: nobody sent it`)];
}

/** Whether a column's value, as text, is what was sent as this JSON text. */
function holds(type: string | undefined, seen: string, text: string): boolean {
  const quoted = text.startsWith('"') ? (JSON.parse(text) as string) : undefined;
  switch (type ?? '') {
    case 'BIGINT':
      return quoted === undefined ? decimal(text) === decimal(seen) : quoted === seen;
    case 'DOUBLE':
      return isDouble(Number(seen), quoted ?? text, quoted === undefined);
    case 'BOOLEAN':
      return (quoted ?? text) === seen;
    case 'VARCHAR':
      return (quoted ?? text) === seen && !/^[[{]/.test(text);
    case 'JSON':
      return text === seen;
    default:
      return false;
  }
}

/** An integer is exact; of a fraction the nearest is kept, and of text only what it spells. */
function isDouble(seen: number, text: string, isNumber: boolean): boolean {
  if (/^-?\d+$/.test(text)) return BigInt(seen) === BigInt(text);
  return isNumber ? seen === Number(text) : String(seen) === text;
}

/** One spelling for each decimal number, exact. */
function decimal(text: string): string {
  const parts = /^(-?)0*(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = parts;
  const digits = (whole + fraction).replace(/^0+/, '');
  const bare = digits.replace(/0+$/, '');
  const power = BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - bare.length);
  return bare === '' ? '0' : `${sign}${bare}e${power}`;
}
