import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Skimmer } from './skimmer.ts';

const seed = Number(process.env.SKIMMER_SEED ?? Date.now() % 1e9);
const pieces = [
  '{ } [ ] : , " " " { } : , \\ - + . 0 1 7 9 e E t u é true fals null 1e5 "td_ip" \\"td_x'.split(
    ' ',
  ),
  ['{"a":', '"b":[', '\\u00e9', '\\u12', ' ', '\t', '\r', '\u0000', '\ufeff', '\u2028'],
].flat();
/** Texts that are JSON, that nearly are, and that are not at all. */
const texts = fc.oneof(
  fc.json({ maxDepth: 4 }),
  fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue()).map((it) => JSON.stringify(it)),
  fc.array(fc.constantFrom(...pieces), { maxLength: 12 }).map((it) => `{${it.join('')}`),
  fc
    .tuple(fc.json({ maxDepth: 3 }), fc.nat(), fc.constantFrom('', ...pieces), fc.nat(2))
    .map(([text, at, piece, cut]) => {
      const place = at % (text.length + 1);
      return `{"a":${text.slice(0, place)}${piece}${text.slice(place + cut)}`;
    }),
);

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

test(`finds what JSON.parse finds, and placeholders where they are (seed ${seed})`, () => {
  const look = (text: string) => {
    const bytes = Buffer.from(text);
    const skimmer = new Skimmer();
    const isWhole = skimmer.end(bytes, 0, bytes.length) === bytes.length;
    expect(isWhole, text).toBe(isObject(bytes.toString('utf8')));
    if (isWhole) expect(skimmer.holdsSome, text).toBe(bytes.includes('"td_'));
    return isWhole;
  };
  let found = 0;
  fc.assert(
    fc.property(texts, (text) => {
      const line = text.replaceAll('\n', '');
      for (const ended of [`${line}}`, ` ${line.slice(0, -1)}}`]) found += Number(look(ended));
    }),
    { seed, numRuns: 20_000 },
  );
  expect(found).toBeGreaterThan(1_000);
});

test('an object that breaks off anywhere is none, whatever follows it', () => {
  const whole = '{ "a\\"\\u00e9" : [ -1.5e+3 , { "td_ip" : true }, [ ], null,0 ],"b":"é\\\\" } ';
  for (const end of ['}', '\n', '"}', ']}', '\\}', '}}', ']}\n']) {
    for (let length = 0; length < whole.length; length += 1) {
      const bytes = Buffer.from(whole.slice(0, length) + end);
      const isWhole = new Skimmer().end(bytes, 0, bytes.length) === bytes.length;
      expect(isWhole, bytes.toString()).toBe(end.endsWith('}') && isObject(bytes.toString()));
    }
  }
});

test('objects in lines, one after the other; what it does not know is left to the parser', () => {
  const deep = `{"a":${'['.repeat(64)}${']'.repeat(64)}}`;
  const lines = ['{"a":1}', ' {"b":"\\n"}\t\r', '', '{"c":\n1}', '[1]', deep, '{"d":2} x', '{}'];
  const bytes = Buffer.from(`${lines.join('\n')}\n`);
  const skimmer = new Skimmer();
  let at = 0;
  const found = lines.map((line) => {
    const end = skimmer.end(bytes, at, bytes.length);
    const isLine = end === at + line.length;
    at += line.length + 1;
    return isLine;
  });
  expect(found).toEqual([true, true, false, false, false, false, false, true]);
  expect(skimmer.end(bytes, bytes.length, bytes.length)).toBe(-1);
  expect(skimmer.holdsSome).toBe(false);
});
