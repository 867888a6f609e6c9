import { fault, limits } from '../base/index.ts';
import { type Dialect, elementsOf, givenUuid, type Member, membersOf } from '../event/index.ts';
import { json } from './answers.ts';
import { uuid } from './global-id.ts';
import { mustBeFewEnough, mustBeObject, names, parsed } from './records.ts';
import { type Answer, mediaType, type Outcome, type WireRequest } from './request.ts';
import { submit } from './submit.ts';

/** What a client is told of one record. The members are booleans and strings: phones cast them. */
export type Receipt =
  | { readonly success: true; readonly uuid?: string }
  | { readonly success: false; readonly error: { name: PhoneError; description: string } };

/** A phone deletes what is refused by one of these names, and sends again what is by another. */
type PhoneError = 'InvalidCollectionNameError' | 'InvalidPropertyValueError';

const vendor = 'application/vnd.treasuredata.v1';
const form = '{"events":[{…}, …]}';

/** The Data Ingestion API: 1 to 500 records, and a receipt for each, in their order. */
export function readIngest(request: WireRequest): Outcome {
  const type = mediaType(request);
  const texts = type === `${vendor}.single+json` ? [oneText(request.body)] : listOf(request.body);
  mustBeFewEnough(texts.length, limits.ingestRecordsMax);
  const checked = texts.map((text) => checkText(text));
  const bodies = checked.flatMap(({ body }) => (body ? [body] : []));
  const group = { ...names(request.database, request.table), bodies };
  const { submission, headers } = submit(request, { dialect: dialectOf(type), groups: [group] });
  const receipts = checked.map(({ receipt, body }) =>
    receipt.success && body
      ? { success: true, uuid: givenUuid(body) ?? uuid(request.chance(16)) }
      : receipt,
  );
  return outcome(submission, json({ receipts }, headers));
}

/** Stores what is there to store. */
export function outcome(
  submission: (Outcome & { kind: 'store' })['submission'],
  answer: Answer,
): Outcome {
  const groups = submission.groups.filter(({ bodies }) => bodies.length > 0);
  if (groups.length === 0) return { kind: 'answer', answer };
  return { kind: 'store', submission: { ...submission, groups }, answer };
}

/** One record of a list: its bytes, or the receipt that refuses it. */
export function checkText(text: string): { readonly receipt: Receipt; readonly body?: Buffer } {
  if (!text.startsWith('{')) return { receipt: refused('an event must be a JSON object') };
  const body = Buffer.from(text);
  const { ingestRecordBytesMax: max } = limits;
  if (body.length > max) {
    return { receipt: refused(`the event has ${body.length} bytes: at most ${max}`) };
  }
  return { receipt: { success: true }, body };
}

export function refused(
  description: string,
  name: PhoneError = 'InvalidPropertyValueError',
): Receipt {
  return { success: false, error: { name, description } };
}

function dialectOf(type: string): Dialect {
  if (type === `${vendor}.js+json`) return 'ingest_js';
  return type === `${vendor}.mobile+json` ? 'ingest_mobile' : 'ingest';
}

function oneText(body: Buffer): string {
  mustBeObject(parsed(body));
  return body.toString('utf8').trim();
}

/** The texts of the records in `events`; some clients call it `records`. */
function listOf(body: Buffer): readonly string[] {
  const value = parsed(body);
  if (Array.isArray(value)) throw fault('BAD_BATCH', { expected: form });
  mustBeObject(value);
  const lists = membersOf(body.toString('utf8')).filter(isList);
  const [list] = lists;
  if (lists.length !== 1 || !list?.text.startsWith('['))
    throw fault('BAD_BATCH', { expected: form });
  return elementsOf(list.text);
}

function isList({ key }: Member): boolean {
  return key === 'events' || key === 'records';
}
