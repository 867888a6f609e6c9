import { isFault, messageOf, nodeDisk, type Task } from '../base/index.ts';
import { listKeys } from '../keys/index.ts';
import { rawSegmentsIn } from '../log/index.ts';
import { type Inspection, inspectStore, isTornStore, storeName } from '../store/index.ts';
import type { Checked, Finding } from './finding.ts';
import { checkLake } from './lake.ts';
import { checkLog } from './log.ts';

export type Check = { readonly checked: Checked; readonly findings: readonly Finding[] };

/** Reads all of a data directory that no server has open, and changes nothing. */
export async function check(dataDirectory: string, task: Task): Promise<Check> {
  const checked = { segments: 0, records: 0, rawSegments: 0, tables: 0, files: 0, bytes: 0 };
  const findings: Finding[] = [...(await checkKeys(dataDirectory))];
  const progress = (done: number) => task.progress({ done, unit: 'bytes' });
  checked.rawSegments = await rawSegmentsIn(nodeDisk, dataDirectory);
  const { inspection, finding } = await lookAtStore(dataDirectory);
  if (finding) findings.push(finding);
  findings.push(...(await checkLog(dataDirectory, inspection?.cursors, checked)));
  if (inspection) {
    checked.tables = inspection.tables.length;
    findings.push(...checkStore(inspection));
    const isRaw = checked.rawSegments > 0;
    findings.push(...(await checkLake(dataDirectory, inspection, checked, isRaw, progress)));
  }
  return { checked, findings };
}

async function checkKeys(dataDirectory: string): Promise<readonly Finding[]> {
  try {
    await listKeys(dataDirectory);
    return [];
  } catch (error) {
    return [
      {
        part: 'keys',
        level: 'damage',
        where: 'keys.json',
        seen: messageOf(error),
        covers: 'all keys: a server that starts takes events, and loads nothing until it is mended',
        remedy: 'mend it by hand, or put it back from a backup',
      },
    ];
  }
}

/** Whether the store opens, or why not. */
async function lookAtStore(
  dataDirectory: string,
): Promise<{ readonly inspection?: Inspection; readonly finding?: Finding }> {
  if (await isTornStore(dataDirectory)) {
    return {
      finding: {
        part: 'store',
        level: 'damage',
        where: `store/${storeName}`,
        seen: 'a write of the store did not come to its end: the power went, or it was killed',
        covers: 'nothing: the log has it; until it is taken back the lake is not looked at',
        remedy: 'start a server, which takes it back; so does --repair',
        fix: { kind: 'torn' },
      },
    };
  }
  try {
    return { inspection: await inspectStore(dataDirectory) };
  } catch (error) {
    if (!isFault(error, 'STORE_MISSING') && !isFault(error, 'STORE_DAMAGED')) throw error;
    const { seen: what = '', why } = error.values;
    const seen = why === undefined ? String(what) : `it is not there, but there was one: ${why}`;
    const [, at] = /Corrupt WAL file: entry at byte position (\d+)/.exec(seen) ?? [];
    const shared = { part: 'store', level: 'damage', seen } as const;
    const where = `store/${storeName}.wal`;
    if (seen.includes('begins with other bytes')) {
      return {
        finding: {
          ...shared,
          where,
          covers: 'nothing: it always begins with the same',
          remedy: '--repair writes them anew',
          fix: { kind: 'walBeginning' },
        },
      };
    }
    if (at !== undefined) {
      return {
        finding: {
          ...shared,
          where,
          covers: 'what was written to the store from there on; the log may still have it',
          remedy: '--repair cuts it off there, and loads what the log has',
          // An entry begins with its length and its checksum.
          fix: { kind: 'wal', at: Number(at) - 16 },
        },
      };
    }
    return {
      finding: {
        ...shared,
        where: `store/${storeName}`,
        covers: 'quarantine, books, rows that are not in files; which of them the log has',
        remedy:
          'restore a backup: millrace restore DIR --data NEW; ' +
          '--repair makes a new one of the lake and the log',
        fix: { kind: 'rebuild' },
      },
    };
  }
}

function checkStore({ unreadable, books }: Inspection): readonly Finding[] {
  const findings: Finding[] = [];
  if (unreadable.length > 0) {
    const names = unreadable.map(({ name }) => name);
    findings.push({
      part: 'store',
      level: 'damage',
      where: names.join(', '),
      seen: unreadable[0]?.why ?? '',
      covers: 'some of their rows',
      remedy: '--repair makes these tables anew of what can be read',
      fix: { kind: 'tables', names },
    });
  }
  if (books && books.events > 0) {
    findings.push({
      part: 'store',
      level: 'damage',
      where: books.where.join(', '),
      seen: `the books are wrong by ${books.events} events`,
      covers: 'events that the ledger has and that are nowhere, or the other way round',
      remedy: 'please report it; restore a backup: millrace restore DIR --data NEW',
    });
  }
  return findings;
}
