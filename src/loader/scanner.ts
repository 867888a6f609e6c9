import { limits } from '../base/index.ts';
import { columnName, type Member, placeholders, recordTime, secondsIn } from '../event/index.ts';
import { secondsOf } from '../event/index.ts';
import type { Rows, Values } from '../store/index.ts';
import { type ColumnDraft, put } from './drafts.ts';
import { fit } from './fit.ts';

/** A key as it is written, where its values go, and what is special about it. */
type Slot = {
  readonly bytes: Buffer;
  readonly name: string;
  /** Undefined while there is no such column. */
  draft: ColumnDraft | undefined;
  /** Whether a value that is the key itself asks for something. */
  readonly isPlaceholder: boolean;
  /** Whether it is `td_record_time`. */
  readonly isTime: boolean;
};

const [quote, backslash, comma, colon, point] = [0x22, 0x5c, 0x2c, 0x3a, 0x2e];
const [plus, minus, zero, nine] = [0x2b, 0x2d, 0x30, 0x39];
const [braceOpen, braceClose, bracketOpen, bracketClose] = [0x7b, 0x7d, 0x5b, 0x5d];
const [letterD, letterE, letterF, letterN, letterT, letterU] = [0x64, 0x65, 0x66, 0x6e, 0x74, 0x75];

/** What a value or an event is that is left to the slow way. */
const unknown = -1;
/** Integers below this have one digit more and are exact all the same. */
const digitsBelow = 1e14;
/** Powers of ten that a double holds: what is divided by one is rounded once, so it is right. */
const powersOfTen = Array.from({ length: 23 }, (_, power) => Number(`1e${power}`));
/** Where the runtime's search begins to be faster than a loop. */
const searchedFrom = 24;
/** Keys that are remembered: more than a table has columns, for those that are always null. */
const slotsMax = 4 * limits.columnsMax;

/**
 * The fast way from the bytes of an event to a row: in one pass, with no text and no object for
 * each value. It takes events of the dialect `postback` with nothing beside them, each value in a
 * column that is there and that it fits. It says no to all others, which go the slow way
 * (`readRecord`, `TablePlan.add`); what it takes becomes the same row as there.
 */
export class Scanner {
  readonly #rows: Rows;
  readonly #drafts: ReadonlyMap<string, ColumnDraft>;
  readonly #times: Values;
  /** By key, its bytes as Latin-1. */
  readonly #slots = new Map<string, Slot>();
  /** The keys of the event before, in its order: most often those of the next one. */
  readonly #order: Slot[] = [];
  /** Of the event at hand. */
  #given: Member | undefined;
  /** Whether there is no backslash in it. */
  #isPlain = false;

  constructor(rows: Rows, drafts: ReadonlyMap<string, ColumnDraft>) {
    this.#rows = rows;
    this.#drafts = drafts;
    this.#times = rows.column('time', 'BIGINT');
  }

  /** By how many seconds `td_record_time` of the last event was off; undefined without one. */
  skewSeconds(receivedAtMs: number): number | undefined {
    return this.#given && secondsIn(this.#given) - secondsOf(receivedAtMs);
  }

  /**
   * Adds the values of an event, its time included, to the row that has begun.
   * @param from where the event's body begins in `bytes`, before `to`.
   * @returns whether it did; if not, what is there of the row must be taken back.
   */
  add(bytes: Buffer, from: number, to: number, receivedAtMs: number): boolean {
    this.#given = undefined;
    this.#isPlain = !bytes.subarray(from, to).includes(backslash);
    if (!this.#addMembers(bytes, from, to)) return false;
    const time = this.#given && recordTime(this.#given, receivedAtMs);
    this.#times.addSafeInteger(this.#rows.count, time ?? secondsOf(receivedAtMs));
    return true;
  }

  #addMembers(bytes: Buffer, from: number, to: number): boolean {
    let at = skipSpace(bytes, from);
    if (bytes[at] !== braceOpen) return false;
    at = skipSpace(bytes, at + 1);
    if (bytes[at] === braceClose) return isSpace(bytes, at + 1, to);
    for (let index = 0; at < to; index += 1) {
      const slot = this.#slotAt(bytes, at, to, index);
      if (slot === undefined) return false;
      at = skipSpace(bytes, at + slot.bytes.length + 2);
      if (bytes[at] !== colon) return false;
      at = this.#addValue(bytes, skipSpace(bytes, at + 1), to, slot);
      if (at === unknown) return false;
      at = skipSpace(bytes, at);
      if (bytes[at] === braceClose) return isSpace(bytes, at + 1, to);
      if (bytes[at] !== comma) return false;
      at = skipSpace(bytes, at + 1);
    }
    return false;
  }

  /** The slot of the key that begins with a quote at `at`. */
  #slotAt(bytes: Buffer, at: number, to: number, index: number): Slot | undefined {
    if (bytes[at] !== quote) return undefined;
    const expected = this.#order[index];
    if (expected !== undefined && isKeyAt(expected.bytes, bytes, at + 1)) return expected;
    const end = stringEnd(bytes, at + 1, to);
    if (end === unknown) return undefined;
    const key = bytes.toString('latin1', at + 1, end);
    let slot = this.#slots.get(key);
    if (!slot) {
      if (this.#slots.size >= slotsMax) return undefined;
      slot = slotOf(Buffer.from(bytes.subarray(at + 1, end)));
      this.#slots.set(key, slot);
    }
    this.#order[index] = slot;
    return slot;
  }

  /** Adds the value that begins at `at`; returns where it ends. */
  #addValue(bytes: Buffer, at: number, to: number, slot: Slot): number {
    const first = bytes[at] ?? 0;
    if (first === letterN) return isWordAt(bytes, at, 'null') && !slot.isTime ? at + 4 : unknown;
    const draft = (slot.draft ??= this.#drafts.get(slot.name));
    if (draft === undefined) return unknown;
    const row = this.#rows.count;
    const { name, type } = draft.column;
    const values = (draft.values ??= this.#rows.column(name, type));
    if (values.lastRow === row) return unknown;
    const isNumber = first === minus || (first >= zero && first <= nine);
    if (slot.isTime && !isNumber) return unknown;
    if (isNumber) {
      const end = slot.isTime ? unknown : addNumber(bytes, at, values, row);
      return end === unknown ? this.#addFitted(bytes, at, numberEnd(bytes, at), slot, draft) : end;
    }
    switch (first) {
      case quote:
        return this.#addString(bytes, at, to, slot, draft, values);
      case braceOpen:
      case bracketOpen: {
        if (type !== 'JSON') return unknown;
        const end = nestedEnd(bytes, at, to);
        if (end !== unknown) values.addText(row, bytes, at, end);
        return end;
      }
      case letterT:
      case letterF: {
        const word = first === letterT ? 'true' : 'false';
        if (type !== 'BOOLEAN' || !isWordAt(bytes, at, word)) return unknown;
        values.addBoolean(row, first === letterT);
        return at + word.length;
      }
      default:
        return unknown;
    }
  }

  #addString(
    bytes: Buffer,
    at: number,
    to: number,
    slot: Slot,
    draft: ColumnDraft,
    values: Values,
  ): number {
    const end = this.#isPlain ? plainEnd(bytes, at + 1) : stringEnd(bytes, at + 1, to);
    const isEscaped = end === unknown;
    if (isEscaped) return this.#addFitted(bytes, at, escapedEnd(bytes, at, to), slot, draft);
    if (end >= to) return unknown;
    const { length } = slot.bytes;
    if (slot.isPlaceholder && end - at - 1 === length && isKeyAt(slot.bytes, bytes, at + 1)) {
      return unknown;
    }
    const { type } = draft.column;
    if (type === 'VARCHAR') values.addText(this.#rows.count, bytes, at + 1, end);
    else return this.#addFitted(bytes, at, end + 1, slot, draft);
    return end + 1;
  }

  /** A value that is fitted as all are on the slow way. */
  #addFitted(bytes: Buffer, at: number, end: number, slot: Slot, draft: ColumnDraft): number {
    if (end === unknown) return unknown;
    const text = bytes.toString('utf8', at, end);
    const isString = bytes[at] === quote;
    const kind = isString ? 'string' : /[.eE]/.test(text) ? 'fraction' : 'integer';
    const member: Member = { key: slot.name, kind, text };
    const fitted = fit(member, draft.column);
    if (fitted.kind === 'misfit') return unknown;
    if (slot.isTime) this.#given = member;
    put(this.#rows, draft, fitted);
    return end;
  }
}

function slotOf(bytes: Buffer): Slot {
  const key = bytes.toString('utf8');
  return {
    bytes,
    name: columnName(key),
    draft: undefined,
    isPlaceholder: placeholders.some((name) => name === key),
    isTime: key === 'td_record_time',
  };
}

/** Whether a string of just these bytes is at a place, its closing quote included. */
function isKeyAt(key: Buffer, bytes: Buffer, at: number): boolean {
  for (let index = 0; index < key.length; index += 1) {
    if (key[index] !== bytes[at + index]) return false;
  }
  return bytes[at + key.length] === quote;
}

function isWordAt(bytes: Buffer, at: number, word: string): boolean {
  for (let index = 0; index < word.length; index += 1) {
    if (bytes[at + index] !== word.charCodeAt(index)) return false;
  }
  return true;
}

function skipSpace(bytes: Buffer, from: number): number {
  let at = from;
  while ((bytes[at] ?? quote) <= 0x20) at += 1;
  return at;
}

/** Whether there is nothing but white space from one place to another. */
function isSpace(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) if ((bytes[at] ?? quote) > 0x20) return false;
  return from <= to;
}

/** Where the string that holds `from` is closed, if it has no backslash. */
function stringEnd(bytes: Buffer, from: number, to: number): number {
  for (let at = from; at < to; at += 1) {
    const byte = bytes[at];
    if (byte === quote) return at;
    if (byte === backslash) return unknown;
  }
  return unknown;
}

/** The same where no backslash can be; it may be behind the event. */
function plainEnd(bytes: Buffer, from: number): number {
  const searchFrom = from + searchedFrom;
  for (let at = from; at < searchFrom; at += 1) {
    if (bytes[at] === quote) return at;
  }
  return bytes.indexOf(quote, searchFrom);
}

/** Behind the string that begins at `from`. */
function escapedEnd(bytes: Buffer, from: number, to: number): number {
  for (let at = from + 1; at < to; at += 1) {
    const byte = bytes[at];
    if (byte === quote) return at + 1;
    if (byte === backslash) at += 1;
  }
  return unknown;
}

/** Behind the characters of a number that begin at `from`. */
function numberEnd(bytes: Buffer, from: number): number {
  let at = from;
  for (; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    const isDigit = byte >= zero && byte <= nine;
    const isExponent = (byte | 0x20) === letterE;
    if (!isDigit && !isExponent && byte !== point && byte !== minus && byte !== plus) break;
  }
  return at;
}

/** Behind the object or array that begins at `from`, if it may be JSON in a column as it is. */
function nestedEnd(bytes: Buffer, from: number, to: number): number {
  let depth = 0;
  let isInString = false;
  for (let at = from; at < to; at += 1) {
    const byte = bytes[at];
    if (byte === quote) isInString = !isInString;
    else if (byte === backslash) {
      at += 1;
      // It may be half a surrogate pair: \ud8… to \udf…, in either case.
      if (bytes[at] === letterU && ((bytes[at + 1] ?? 0) | 0x20) === letterD) return unknown;
    } else if (isInString) continue;
    else if (byte === braceOpen || byte === bracketOpen) {
      depth += 1;
      if (depth > limits.nestingMax) return unknown;
    } else if (byte === braceClose || byte === bracketClose) {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  return unknown;
}

/** Adds a number of few digits that is one of the column's type; returns where it ends. */
function addNumber(bytes: Buffer, from: number, values: Values, row: number): number {
  const { type } = values;
  const isNegative = bytes[from] === minus;
  let at = isNegative ? from + 1 : from;
  let number = 0;
  let byte = bytes[at] ?? 0;
  for (; byte >= zero && byte <= nine; byte = bytes[at] ?? 0) {
    if (number >= digitsBelow) return unknown;
    number = number * 10 + (byte - zero);
    at += 1;
  }
  if (type === 'BIGINT') {
    if (!isEnd(byte)) return unknown;
    values.addSafeInteger(row, isNegative && number > 0 ? -number : number);
    return at;
  }
  if (type !== 'DOUBLE') return unknown;
  const pointAt = at;
  if (byte === point) {
    at += 1;
    byte = bytes[at] ?? 0;
    for (; byte >= zero && byte <= nine; byte = bytes[at] ?? 0) {
      if (number >= digitsBelow) return unknown;
      number = number * 10 + (byte - zero);
      at += 1;
    }
  }
  const power = powersOfTen[Math.max(0, at - pointAt - 1)];
  if (power === undefined || !isEnd(byte)) return unknown;
  values.addDouble(row, (isNegative ? -number : number) / power);
  return at;
}

/** Whether a value may end before this byte. */
function isEnd(byte: number): boolean {
  return byte === comma || byte === braceClose || byte <= 0x20;
}
