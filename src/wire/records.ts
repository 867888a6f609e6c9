import { isUtf8 } from 'node:buffer';
import { fault, limits, MillraceError } from '../base/index.ts';
import { checkDatabase, checkTable, elementsOf } from '../event/index.ts';
import { Skimmer } from './skimmer.ts';

/*
 * From the bytes of a body to its records. What is not JSON of the right form is thrown as a fault.
 */

const [lineEnd, quote, backslash] = [0x0a, 0x22, 0x5c];
const lineTypes = /^application\/(x-)?(ndjson|jsonl|jsonlines|json-lines)$/;

/** Records of a body. */
export type Records = {
  readonly bodies: readonly Buffer[];
  /** Whether one of them may ask for something of its sender. */
  readonly mayAsk: boolean;
};

/** The records of a postback; `isMany` if the form is not the documented one. */
export function bodyRecords(body: Buffer, type: string): Records & { readonly isMany: boolean } {
  if (lineTypes.test(type)) return { ...recordsByLine(body), isMany: true };
  const skimmed = skimmedWhole(body);
  if (!skimmed) {
    const value = parsed(body);
    const mayAsk = mayAskForSome(body);
    if (Array.isArray(value)) return { bodies: recordsOfArray(value, body), mayAsk, isMany: true };
    mustBeObject(value);
  }
  mustFitBody(body);
  return { bodies: [body], mayAsk: skimmed?.holdsSome ?? mayAskForSome(body), isMany: false };
}

/** The one record of a body. */
export function oneRecord(body: Buffer): Buffer {
  if (!skimmedWhole(body)) mustBeObject(parsed(body));
  mustFitBody(body);
  return body;
}

/** Whether a body is one record that asks for nothing of its sender, as far as a look tells. */
export function isPlainBody(body: Buffer): boolean {
  return body.length <= limits.bodyBytesMax && skimmedWhole(body)?.holdsSome === false;
}

const placeholderBegin = Buffer.from('"td_');

/** Whether a body may ask for something of its sender. */
export function mayAskForSome(body: Buffer): boolean {
  return body.includes(placeholderBegin);
}

/** What skimmed a body that is one object; undefined if it is to be parsed. */
function skimmedWhole(body: Buffer): Skimmer | undefined {
  const skimmer = new Skimmer();
  return isUtf8(body) && skimmer.end(body, 0, body.length) === body.length ? skimmer : undefined;
}

/** The records of a body with one in each line; empty lines are none. */
function recordsByLine(body: Buffer): Records {
  const bodies: Buffer[] = [];
  const skimmer = new Skimmer();
  const isText = isUtf8(body);
  let areSkimmed = true;
  let number = 0;
  for (let at = 0; at < body.length; ) {
    number += 1;
    mustBeFewEnough(number, 2 * limits.requestRecordsMax);
    const where = `line ${number}`;
    let end = isText ? skimmer.end(body, at, body.length) : -1;
    const isSkimmed = end !== -1 && (end === body.length || body[end] === lineEnd);
    if (!isSkimmed) end = lineEndFrom(body, at);
    const line = body.subarray(at, end);
    at = end + 1;
    if (!isSkimmed) {
      if (line.toString('latin1').trim() === '') continue;
      named(where, () => mustBeObject(parsed(line)));
      areSkimmed = false;
    }
    mustFit(line.length, limits.bodyBytesMax, where);
    bodies.push(line);
    mustBeFewEnough(bodies.length, limits.requestRecordsMax);
  }
  if (bodies.length === 0) throw fault('MISSING_BODY');
  return { bodies, mayAsk: areSkimmed ? skimmer.holdsSome : mayAskForSome(body) };
}

function lineEndFrom(body: Buffer, from: number): number {
  const end = body.indexOf(lineEnd, from);
  return end === -1 ? body.length : end;
}

function recordsOfArray(values: readonly unknown[], body: Buffer): readonly Buffer[] {
  mustBeFewEnough(values.length, limits.requestRecordsMax);
  return elementsOf(body.toString('utf8')).map((element, index) => {
    const where = `record ${index + 1}`;
    named(where, () => mustBeObject(values[index]));
    const record = Buffer.from(element);
    mustFit(record.length, limits.bodyBytesMax, where);
    return record;
  });
}

/** The value of a body. @throws MISSING_BODY, BAD_UTF8, BAD_JSON */
export function parsed(body: Buffer): unknown {
  if (body.length === 0) throw fault('MISSING_BODY');
  if (!isUtf8(body)) throw fault('BAD_UTF8');
  mustBeShallow(body);
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    const message = (error as Error).message.slice(0, 160);
    const isLines = /after JSON at/.test(message);
    const advice = '; for one record per line send Content-Type: application/x-ndjson';
    throw fault('BAD_JSON', { seen: message + (isLines ? advice : '') }, error);
  }
}

/**
 * A body of brackets alone would keep the parser busy for seconds.
 * @throws NESTED_TOO_DEEP
 */
function mustBeShallow(body: Buffer): void {
  const { bodyNestingMax: expected } = limits;
  if (body.length < 2 * expected) return;
  let depth = 0;
  for (let at = 0; at < body.length; at += 1) {
    const code = body[at];
    if (code === quote) at = stringEnd(body, at);
    else if (code === 0x5b || code === 0x7b) depth += 1;
    else if (code === 0x5d || code === 0x7d) depth -= 1;
    if (depth > expected) throw fault('NESTED_TOO_DEEP', { expected });
  }
}

/** Where the string that begins at `from` ends, or the body. */
function stringEnd(body: Buffer, from: number): number {
  let at = from + 1;
  while (at < body.length && body[at] !== quote) at += body[at] === backslash ? 2 : 1;
  return at;
}

/** @throws NOT_AN_OBJECT */
export function mustBeObject(value: unknown): void {
  if (value === null) throw fault('NOT_AN_OBJECT', { seen: 'null' });
  if (Array.isArray(value)) throw fault('NOT_AN_OBJECT', { seen: 'array' });
  if (typeof value !== 'object') throw fault('NOT_AN_OBJECT', { seen: typeof value });
}

/** @throws RECORD_COUNT */
export function mustBeFewEnough(seen: number, expected: number): void {
  if (seen < 1 || seen > expected) throw fault('RECORD_COUNT', { seen, expected });
}

/** The names of a path, lowered. @throws BAD_NAME, RESERVED_NAME */
export function names(database: string, table: string): { database: string; table: string } {
  return { database: good(checkDatabase(database)), table: good(checkTable(table)) };
}

function good(name: string | MillraceError): string {
  if (name instanceof MillraceError) throw name;
  return name;
}

function mustFitBody(body: Buffer): void {
  const expected = limits.bodyBytesMax;
  if (body.length > expected) throw fault('BODY_TOO_LARGE', { expected });
}

function mustFit(seen: number, expected: number, where: string): void {
  if (seen > expected) throw fault('RECORD_TOO_LARGE', { seen, expected, where });
}

function named(where: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    throw fault('BAD_RECORD', { where, seen: error.message }, error);
  }
}
