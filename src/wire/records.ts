import { isAscii, isUtf8 } from 'node:buffer';
import { fault, limits, MillraceError } from '../base/index.ts';
import { checkDatabase, checkTable, elementsOf } from '../event/index.ts';

/*
 * From the bytes of a body to its records. What is not JSON of the right form is thrown as a fault.
 */

const lineTypes = /^application\/(x-)?(ndjson|jsonl|jsonlines|json-lines)$/;

/** The records of a postback; `isMany` if the form is not the documented one. */
export function bodyRecords(
  body: Buffer,
  type: string,
): { readonly bodies: readonly Buffer[]; readonly isMany: boolean } {
  if (lineTypes.test(type)) return { bodies: recordsByLine(body), isMany: true };
  const value = parsed(body);
  if (Array.isArray(value)) return { bodies: recordsOfArray(value, body), isMany: true };
  mustBeObject(value);
  mustFitBody(body);
  return { bodies: [body], isMany: false };
}

/** The one record of a body. */
export function oneRecord(body: Buffer): Buffer {
  mustBeObject(parsed(body));
  mustFitBody(body);
  return body;
}

/** The records of a body with one in each line; empty lines are none. */
function recordsByLine(body: Buffer): readonly Buffer[] {
  const records: Buffer[] = [];
  const isAsciiOnly = isAscii(body);
  let number = 0;
  for (let at = 0; at < body.length; ) {
    const found = body.indexOf(0x0a, at);
    const end = found === -1 ? body.length : found;
    const line = body.subarray(at, end);
    const text = body.toString('latin1', at, end);
    number += 1;
    at = end + 1;
    mustBeFewEnough(number, 2 * limits.requestRecordsMax);
    if (text.trim() === '') continue;
    // One of ASCII alone is its own text: it is not decoded again.
    const isGood = isAsciiOnly && isObjectText(text);
    if (!isGood) named(`line ${number}`, () => mustBeObject(parsed(line)));
    mustFit(line.length, limits.bodyBytesMax, `line ${number}`);
    records.push(line);
    mustBeFewEnough(records.length, limits.requestRecordsMax);
  }
  if (records.length === 0) throw fault('MISSING_BODY');
  return records;
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

/** Whether a text is a JSON object; deep ones are left to `parsed`. */
function isObjectText(text: string): boolean {
  if (text.length >= 2 * limits.bodyNestingMax) return false;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
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

const [quote, backslash] = [0x22, 0x5c];

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
