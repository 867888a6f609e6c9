import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { crcsAt, damageIn, isMissing, messageOf, type Stretch } from '../base/index.ts';
import { type Inspection, lakePaths } from '../store/index.ts';
import type { Checked, Finding } from './finding.ts';

type Named = Inspection['tables'][number]['files'][number];

/**
 * Reads every file that the catalog names.
 * @param progress is told of bytes. @param isRaw whether exact bytes of events are kept
 */
export async function checkLake(
  dataDirectory: string,
  { tables }: Inspection,
  checked: Checked,
  isRaw: boolean,
  progress: (bytes: number) => void,
): Promise<readonly Finding[]> {
  const lake = join(dataDirectory, 'lake');
  const findings: Finding[] = [];
  const unknown = new Set(await pathsIn(lake));
  let unchecked = 0;
  for (const { database, table, files } of tables) {
    for (const file of files) {
      unknown.delete(file.path);
      checked.files += 1;
      checked.bytes += file.bytes;
      if (file.crcs.length === 0) unchecked += 1;
      const { seen, damage } = await lookAt(join(lake, file.path), file);
      progress(checked.bytes);
      if (seen === undefined) continue;
      const name = `${database}.${table}`;
      const again = `start the server, then millrace reload ${name}: the bytes of events are kept`;
      const aside = '--repair sets it aside, and keeps rows that lie in whole parts of it';
      findings.push({
        part: 'lake',
        level: 'damage',
        where: join('lake', file.path),
        seen,
        covers: `${file.rows} rows of ${name}, of ${file.day}`,
        remedy: `put it back from a backup; ${isRaw ? `or ${again}; or ` : ''}${aside}`,
        fix: { kind: 'file', path: file.path, damage },
      });
    }
  }
  for (const path of unknown) {
    findings.push({
      part: 'lake',
      level: 'note',
      where: join('lake', path),
      seen: 'no table names this file',
      covers: 'nothing: a crash leaves such a file when it is written or replaced',
      remedy: 'none is needed: the next start moves it to lake/.orphans for a week',
    });
  }
  if (unchecked > 0) {
    findings.push({
      part: 'lake',
      level: 'note',
      where: 'lake',
      seen: `${unchecked} files have no checksums: an earlier version has written them`,
      covers: 'nothing: only their lengths can be checked',
      remedy: 'none is needed: they get theirs when they are merged',
    });
  }
  return findings;
}

async function pathsIn(lake: string): Promise<readonly string[]> {
  try {
    return await lakePaths(lake);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

async function lookAt(
  path: string,
  { bytes, crcs }: Named,
): Promise<{ readonly seen: string | undefined; readonly damage: readonly Stretch[] }> {
  const all = [{ from: 0, to: bytes }];
  try {
    const { size } = await stat(path);
    if (size !== bytes) return { seen: `it has ${size} bytes, and had ${bytes}`, damage: all };
    const damage = damageIn(crcs, await crcsAt(path), bytes);
    const parts = damage.map(({ from, to }) => `${from} to ${to}`).join(', ');
    return { seen: parts === '' ? undefined : `other checksums of bytes ${parts}`, damage };
  } catch (error) {
    if (isMissing(error)) return { seen: 'it is not there', damage: all };
    return { seen: `it cannot be read: ${messageOf(error)}`, damage: all };
  }
}
