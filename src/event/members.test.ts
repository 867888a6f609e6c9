import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { membersOf } from './members.ts';

const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);

/** JSON text of a value, with white space wherever it may stand. */
function spaced(value: unknown, gap: () => string): string {
  if (Array.isArray(value)) {
    return `[${gap()}${value.map((item) => spaced(item, gap)).join(`${gap()},${gap()}`)}${gap()}]`;
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([key, item]) => `${JSON.stringify(key)}${gap()}:${gap()}${spaced(item, gap)}`,
  );
  return `{${gap()}${members.join(`${gap()},${gap()}`)}${gap()}}`;
}

describe('membersOf', () => {
  test('gives what JSON.parse gives, for any object and any white space', () => {
    const object = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue());
    fc.assert(
      fc.property(object, fc.array(space, { minLength: 1 }), (value, gaps) => {
        let next = 0;
        const text = ` ${spaced(value, () => gaps[next++ % gaps.length] ?? '')}\n`;
        const members = membersOf(text).map(({ key, text: item }) => [key, JSON.parse(item)]);
        expect(members).toEqual(Object.entries(JSON.parse(text) as object));
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ['{}', []],
    [
      '{"a":1,"a":2}',
      [
        ['a', 'integer', '1'],
        ['a', 'integer', '2'],
      ],
    ],
    ['{"n":-0}', [['n', 'integer', '-0']]],
    ['{"n":12345678901234567890123}', [['n', 'integer', '12345678901234567890123']]],
    [
      '{"n":1.10,"e":1E5}',
      [
        ['n', 'fraction', '1.10'],
        ['e', 'fraction', '1E5'],
      ],
    ],
    ['{"\\u0061\\"":"\\\\"}', [['a"', 'string', '"\\\\"']]],
    [
      '{"a":{"b":"}]\\""},"c":[[1],{}]}',
      [
        ['a', 'nested', '{"b":"}]\\""}'],
        ['c', 'nested', '[[1],{}]'],
      ],
    ],
    [
      '{"t":true,"f":false,"z":null}',
      [
        ['t', 'boolean', 'true'],
        ['f', 'boolean', 'false'],
        ['z', 'null', 'null'],
      ],
    ],
    [
      '{"__proto__":1,"":2}',
      [
        ['__proto__', 'integer', '1'],
        ['', 'integer', '2'],
      ],
    ],
  ])('%s', (text, expected) => {
    expect(membersOf(text).map((member) => [member.key, member.kind, member.text])).toEqual(
      expected,
    );
  });

  test('is not stopped by depth', () => {
    const deep = `{"a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`;
    expect(membersOf(deep)[0]?.text.length).toBe(20_000);
  });
});
