import { limits } from '../base/index.ts';
import { type Hot, rowGroupBytes } from './hot.ts';
import type { Chore, LakeFile, Retention } from './lake-types.ts';
import type { StoredTable } from './views.ts';

/* What there is to do in the lake, as pure functions of what is there. */

export type Situation = {
  readonly tables: readonly StoredTable[];
  readonly hot: ReadonlyMap<number, Hot>;
  readonly retentions: readonly Retention[];
  /** When rows were last removed by age, by table. */
  readonly expiredAtMs: ReadonlyMap<number, number>;
  readonly nowMs: number;
  readonly archiveAgeMs: number;
};

const daySeconds = 86_400;
/** Rows that the engine handles at once. */
export const vectorRows = 2_048;

/** The most urgent thing to do. */
export function choreOf(situation: Situation): Chore | undefined {
  const { tables } = situation;
  return (
    archiveOf(tables, situation) ?? expiryOf(tables, situation) ?? compactionOf(tables, situation)
  );
}

/** What was begun comes first, then what is too much, then what is too old. */
function archiveOf(
  tables: readonly StoredTable[],
  { hot, nowMs, archiveAgeMs }: Situation,
): Chore | undefined {
  const urgencyOf = ({ id, sealed }: StoredTable) => {
    if (sealed) return 3;
    const known = hot.get(id);
    if (!known) return 0;
    const { rows, bytes, sinceMs = nowMs } = known;
    if (rows >= limits.hotRowsMax || bytes >= limits.hotBytesMax) return 2;
    if (rowGroupBytes(known) >= limits.hotRowGroupBytesMax) return 2;
    return rows > 0 && nowMs - sinceMs >= archiveAgeMs ? 1 : 0;
  };
  let found: StoredTable | undefined;
  let [most, fresh] = [0, 0];
  for (const table of tables) {
    const urgency = urgencyOf(table);
    if (urgency > most) [found, most] = [table, urgency];
    fresh += hot.get(table.id)?.fresh ?? 0;
  }
  if (most < 2 && fresh >= limits.freshRowsMax) {
    const freshOf = ({ id }: StoredTable) => hot.get(id)?.fresh ?? 0;
    found = tables.reduce((a, b) => (freshOf(b) > freshOf(a) ? b : a));
  }
  return found && { kind: 'archive', database: found.database, table: found.table };
}

/** The retention of a table: its own, or that of its database; seconds. */
export function retentionOf(
  retentions: readonly Retention[],
  { database, table }: Pick<StoredTable, 'database' | 'table'>,
): number | undefined {
  const mine = retentions.filter((one) => one.database === database);
  const own = mine.find((one) => one.table === table) ?? mine.find((one) => one.table === '*');
  return own?.seconds;
}

function expiryOf(
  tables: readonly StoredTable[],
  { retentions, expiredAtMs, nowMs }: Situation,
): Chore | undefined {
  if (retentions.length === 0) return undefined;
  for (const table of tables) {
    const seconds = retentionOf(retentions, table);
    if (seconds === undefined) continue;
    const before = Math.floor(nowMs / 1000) - seconds;
    const lastMs = expiredAtMs.get(table.id) ?? 0;
    const isOld = table.files.some(({ timeMax }) => timeMax < before);
    // Of hot rows nobody knows how old they are.
    if (!isOld && Math.abs(nowMs - lastMs) < limits.expireEveryMs) continue;
    return { kind: 'expire', database: table.database, table: table.table, before };
  }
  return undefined;
}

/** Lists that were looked at, with the day on which: they do not change. */
const looked = new WeakMap<readonly LakeFile[], number>();

function compactionOf(tables: readonly StoredTable[], { nowMs }: Situation): Chore | undefined {
  const today = Math.floor((nowMs - limits.dayOverMs) / (daySeconds * 1000));
  for (const { database, table, files } of tables) {
    if (looked.get(files) === today) continue;
    for (const [day, ofDay] of Map.groupBy(files, (file) => file.day)) {
      const isOver = !(Date.parse(day) >= today * daySeconds * 1000);
      const chosen = filesToMerge(ofDay, isOver);
      if (chosen.length > 1) return { kind: 'compact', database, table, files: chosen };
    }
    looked.set(files, today);
  }
  return undefined;
}

/**
 * Which files of a day to merge into one. While the day lasts, when there are many; when it is
 * over, as long as a file is not much longer than those that it is joined with: so a byte is
 * written a bounded number of times, and few files stay.
 */
export function filesToMerge(files: readonly LakeFile[], isOver: boolean): readonly LakeFile[] {
  const { fileBytesMax, filePlainBytesMax, fileVectorBytesMax } = limits;
  const { dayFilesMax, mergeGrowthMin } = limits;
  const small = files
    .filter(({ bytes, plainBytes }) => {
      return bytes < fileBytesMax / 2 && plainBytes < filePlainBytesMax / 2;
    })
    .toSorted((a, b) => a.bytes - b.bytes);
  if (small.length < 2) return [];
  const isMany = small.length >= dayFilesMax;
  if (!isMany && !isOver) return [];
  const chosen: LakeFile[] = [];
  let [bytes, plainBytes, rows, best] = [0, 0, 0, 0];
  for (const file of small) {
    if (bytes + file.bytes > fileBytesMax) break;
    const vectors = Math.max(1, (rows + file.rows) / vectorRows);
    const plainBytesMax = Math.min(filePlainBytesMax, vectors * fileVectorBytesMax);
    if (plainBytes + file.plainBytes > plainBytesMax) break;
    if (chosen.length > 0 && bytes >= file.bytes * mergeGrowthMin) best = chosen.length + 1;
    chosen.push(file);
    bytes += file.bytes;
    plainBytes += file.plainBytes;
    rows += file.rows;
  }
  return chosen.slice(0, isMany ? Math.max(best, 2) : best);
}
