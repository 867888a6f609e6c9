import { limits } from '../base/index.ts';
import type { Member } from '../event/index.ts';
import type { Column, ColumnType } from '../store/index.ts';

/**
 * How a value goes into its column.
 *  - `text`: as this JSON text, exact; `column` holds what the column must become for it
 *  - `misfit`: not without loss; it goes to `_rescued_data`
 */
export type Fit =
  | { readonly kind: 'text'; readonly text: string; readonly column?: Partial<Column> }
  | { readonly kind: 'misfit' };

const misfit: Fit = { kind: 'misfit' };
const bigintMax = 2n ** 63n - 1n;
const bigintMin = -(2n ** 63n);
/** Characters of an integer of 64 bits, its sign included. */
const bigintDigitsMax = 20;
/** Characters of a number or a truth in a string, each written as an escape at the longest. */
const unquotedMax = 200;

/** The type of a column whose first value this is. */
export function typeOf(kind: Exclude<Member['kind'], 'null'>): ColumnType {
  switch (kind) {
    case 'integer':
      return 'BIGINT';
    case 'fraction':
      return 'DOUBLE';
    case 'boolean':
      return 'BOOLEAN';
    case 'string':
      return 'VARCHAR';
    case 'nested':
      return 'JSON';
  }
}

/** Fits a value that is not null into a column. */
export function fit(member: Member, column: Column): Fit {
  switch (column.type) {
    case 'BIGINT':
      return fitBigint(member, column);
    case 'DOUBLE':
      return fitDouble(member);
    case 'BOOLEAN':
      return fitBoolean(member);
    case 'VARCHAR':
      return fitVarchar(member);
    case 'JSON':
      if (hasLoneSurrogate(member.text) || isTooDeep(member.text)) return misfit;
      return asText(JSON.stringify(member.text));
  }
}

function asText(text: string): Fit {
  return { kind: 'text', text };
}

function fitBigint(member: Member, column: Column): Fit {
  if (member.kind === 'fraction') {
    const whole = wholeNumber(member.text);
    if (whole !== undefined) {
      const fitted = fitBigint({ ...member, kind: 'integer', text: whole }, column);
      if (fitted.kind === 'text') return fitted;
    }
    if (!column.exactAsDouble || !isFaithful(Number(member.text), member.text)) return misfit;
    return { kind: 'text', text: member.text, column: { type: 'DOUBLE' } };
  }
  const digits = member.kind === 'integer' ? member.text : unquoted(member, /^(0|-?[1-9]\d*)$/);
  if (digits === undefined) return misfit;
  if (digits === '-0') return asText('0');
  if (digits.length > bigintDigitsMax) return misfit;
  if (digits.length <= 16 && Number.isSafeInteger(Number(digits))) return asText(digits);
  const value = BigInt(digits);
  if (value > bigintMax || value < bigintMin) return misfit;
  const exactAsDouble = column.exactAsDouble && BigInt(Number(value)) === value;
  return { kind: 'text', text: digits, column: { exactAsDouble } };
}

function fitDouble(member: Member): Fit {
  if (member.kind === 'integer') {
    if (member.text === '-0') return asText('-0.0');
    const number = Number(member.text);
    const exact = Number.isSafeInteger(number) || isExactInteger(number, member.text);
    return exact ? asText(member.text) : misfit;
  }
  if (member.kind === 'fraction') {
    return isFaithful(Number(member.text), member.text) ? asText(member.text) : misfit;
  }
  const text = unquoted(member, /^-?\d/);
  return text !== undefined && String(Number(text)) === text ? asText(text) : misfit;
}

function fitBoolean(member: Member): Fit {
  if (member.kind === 'boolean') return asText(member.text);
  const text = unquoted(member, /^(true|false)$/);
  return text === undefined ? misfit : asText(text);
}

function fitVarchar(member: Member): Fit {
  if (member.kind === 'nested' || hasLoneSurrogate(member.text)) return misfit;
  return asText(member.kind === 'string' ? member.text : `"${member.text}"`);
}

/** What a string says, if it is of this form, which holds plain characters alone. */
function unquoted(member: Member, form: RegExp): string | undefined {
  if (member.kind !== 'string') return undefined;
  const { text } = member;
  // Digits may be written as escapes; what is long is no number of ours.
  const isEscaped = text.length < unquotedMax && text.includes('\\');
  const bare = isEscaped ? (JSON.parse(text) as string) : text.slice(1, -1);
  return form.test(bare) ? bare : undefined;
}

function isExactInteger(number: number, digits: string): boolean {
  // What is too long for a DOUBLE is Infinity, and need not be read digit by digit.
  return Number.isFinite(number) && BigInt(number) === BigInt(digits);
}

/** The digits of a number like 42.0 or 4.2e1 that is whole and not longer than 64 bits. */
function wholeNumber(text: string): string | undefined {
  const parts = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = parts ?? [];
  const digits = whole + fraction;
  const pointAt = whole.length + Number(exponent);
  if (!/^0*$/.test(digits.slice(Math.max(0, pointAt)))) return undefined;
  const zeros = pointAt - digits.length;
  if (zeros > bigintDigitsMax) return /^0*$/.test(digits) ? '0' : undefined;
  const all = digits.slice(0, Math.max(0, pointAt)) + '0'.repeat(Math.max(0, zeros));
  const trimmed = all.replace(/^0+(?=\d)/, '') || '0';
  if (trimmed.length >= bigintDigitsMax) return undefined;
  return trimmed === '0' ? '0' : sign + trimmed;
}

/** Whether a number's text neither overflowed nor vanished on its way to a double. */
function isFaithful(number: number, text: string): boolean {
  if (!Number.isFinite(number)) return false;
  return number !== 0 || !/[1-9]/.test(text.split(/e/i)[0] ?? '');
}

/** Whether JSON text nests so deep that functions of the engine would overflow their stack. */
function isTooDeep(text: string): boolean {
  if (text.length < 2 * limits.nestingMax) return false;
  const bare = text.replace(/"(?:[^"\\]|\\.)*"/g, '');
  let depth = 0;
  for (const { 0: bracket } of bare.matchAll(/[[\]{}]/g)) {
    depth += bracket === '[' || bracket === '{' ? 1 : -1;
    if (depth > limits.nestingMax) return true;
  }
  return false;
}

/**
 * Whether JSON text holds an escape of half a surrogate pair: valid JSON, but no text that a
 * column can hold.
 */
export function hasLoneSurrogate(text: string): boolean {
  if (!/\\u[dD]/.test(text)) return false;
  let highBefore = -1;
  for (const { 0: escape, 1: hex, index } of text.matchAll(/\\(?:u([0-9a-fA-F]{4})|.)/g)) {
    const follows = highBefore === index;
    const unit = hex === undefined ? 0 : parseInt(hex, 16);
    const isHigh = unit >= 0xd800 && unit <= 0xdbff;
    const isLow = unit >= 0xdc00 && unit <= 0xdfff;
    if (isLow ? !follows : highBefore !== -1) return true;
    highBefore = isHigh ? index + escape.length : -1;
  }
  return highBefore !== -1;
}
