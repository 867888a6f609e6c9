import { fault, isFault, limits, MillraceError } from '../base/index.ts';
import { elementsOf, type Group, membersOf } from '../event/index.ts';
import { json } from './answers.ts';
import { checkText, outcome, type Receipt, refused } from './ingest.ts';
import { mustBeFewEnough, mustBeObject, names, parsed } from './records.ts';
import type { Outcome, WireRequest } from './request.ts';
import { submit } from './submit.ts';

const form = '{"database.table":[{…}, …]}';

/** What phones sent before 1.0: lists by table, and as many receipts by table. */
export function readPhone(request: WireRequest): Outcome {
  mustBeObject(parsed(request.body));
  const members = membersOf(request.body.toString('utf8'));
  if (members.length > limits.requestTablesMax) {
    throw fault('TABLE_COUNT', { seen: members.length, expected: limits.requestTablesMax });
  }
  const lists = members.map(({ key, text }) => {
    if (!text.startsWith('[')) throw fault('BAD_BATCH', { expected: form });
    return { key, texts: elementsOf(text) };
  });
  const count = lists.reduce((sum, { texts }) => sum + texts.length, 0);
  mustBeFewEnough(count, limits.requestRecordsMax);
  const read = lists.map(({ key, texts }) => readList(key, texts));
  const groups = read.flatMap(({ group }) => (group ? [group] : []));
  const { submission } = submit(request, { dialect: 'keen', groups });
  // Not an object: a key may come twice, and each phone counts its own.
  const answers = read.map(({ key, receipts }) => {
    return `${JSON.stringify(key)}:${JSON.stringify(receipts)}`;
  });
  return outcome(submission, { ...json({}), body: `{${answers.join(',')}}` });
}

type List = {
  readonly key: string;
  readonly receipts: readonly Receipt[];
  readonly group?: Group;
};

function readList(key: string, texts: readonly string[]): List {
  const address = addressOf(key);
  if (address instanceof MillraceError) {
    const receipt = refused(address.message, 'InvalidCollectionNameError');
    return { key, receipts: texts.map(() => receipt) };
  }
  const checked = texts.map((text) => checkText(text));
  const bodies = checked.flatMap(({ body }) => (body ? [body] : []));
  const receipts = checked.map(({ receipt }) => receipt);
  return { key, receipts, group: { ...address, bodies } };
}

function addressOf(key: string): { database: string; table: string } | MillraceError {
  const [database = '', ...rest] = key.split('.');
  try {
    return names(database, rest.join('.'));
  } catch (error) {
    if (isFault(error, 'BAD_NAME') || isFault(error, 'RESERVED_NAME')) return error;
    throw error;
  }
}
