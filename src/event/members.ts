import { assert } from '../base/index.ts';

/** One member of a JSON object. `text` is its value exactly as it was written. */
export type Member = {
  readonly key: string;
  readonly kind: 'string' | 'integer' | 'fraction' | 'boolean' | 'null' | 'nested';
  readonly text: string;
};

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const braceOpen = 0x7b;
const braceClose = 0x7d;
const bracketOpen = 0x5b;
const bracketClose = 0x5d;

/**
 * The members of a JSON object in their order, those with the same key included. Unlike
 * `JSON.parse` it keeps numbers as digits, so nothing is rounded.
 * @param text valid JSON, an object; anything else is a bug.
 */
export function membersOf(text: string): readonly Member[] {
  const members: Member[] = [];
  let at = skipSpace(text, 0);
  assert(text.charCodeAt(at) === braceOpen, 'the record is an object');
  at = skipSpace(text, at + 1);
  while (text.charCodeAt(at) !== braceClose) {
    if (text.charCodeAt(at) === comma) at = skipSpace(text, at + 1);
    const keyEnd = stringEnd(text, at);
    const key = unquote(text.slice(at, keyEnd));
    const start = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = valueEnd(text, start);
    const value = text.slice(start, end);
    members.push({ key, kind: kindOf(value), text: value });
    at = skipSpace(text, end);
    assert(at < text.length, 'the object is closed');
  }
  return members;
}

/**
 * The elements of a JSON array, each as it was written.
 * @param text valid JSON, an array; anything else is a bug.
 */
export function elementsOf(text: string): readonly string[] {
  const elements: string[] = [];
  let at = skipSpace(text, 0);
  assert(text.charCodeAt(at) === bracketOpen, 'the batch is an array');
  at = skipSpace(text, at + 1);
  while (text.charCodeAt(at) !== bracketClose) {
    if (text.charCodeAt(at) === comma) at = skipSpace(text, at + 1);
    const end = valueEnd(text, at);
    elements.push(text.slice(at, end));
    at = skipSpace(text, end);
    assert(at < text.length, 'the array is closed');
  }
  return elements;
}

function kindOf(value: string): Member['kind'] {
  switch (value.charCodeAt(0)) {
    case quote:
      return 'string';
    case braceOpen:
    case bracketOpen:
      return 'nested';
    case 0x74: // t
    case 0x66: // f
      return 'boolean';
    case 0x6e: // n
      return 'null';
    default:
      return /[.eE]/.test(value) ? 'fraction' : 'integer';
  }
}

function unquote(quoted: string): string {
  return quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (text.charCodeAt(at) <= 0x20) at += 1;
  return at;
}

/** Behind the string that begins at `from`. */
function stringEnd(text: string, from: number): number {
  assert(text.charCodeAt(from) === quote, 'a string begins with a quote');
  let at = from + 1;
  for (; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) return at + 1;
    if (code === backslash) at += 1;
  }
  throw new Error('assertion failed: a string is closed');
}

function valueEnd(text: string, from: number): number {
  const first = text.charCodeAt(from);
  if (first === quote) return stringEnd(text, from);
  if (first === braceOpen || first === bracketOpen) return nestedEnd(text, from);
  let at = from;
  for (; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === comma || code === braceClose || code === bracketClose || code <= 0x20) break;
  }
  return at;
}

function nestedEnd(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; ) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      at = stringEnd(text, at);
      continue;
    }
    at += 1;
    if (code === braceOpen || code === bracketOpen) depth += 1;
    else if (code === braceClose || code === bracketClose) depth -= 1;
    if (depth === 0) return at;
  }
  throw new Error('assertion failed: a nested value is closed');
}
