import { join, relative } from 'node:path';
import { isMissing, nodeDisk } from '../base/index.ts';
import { receiptText } from '../event/index.ts';
import { type Inspected, LogInspector } from '../log/index.ts';
import { rawDamage, segmentPath, shardDirectory, shardsIn } from '../log/index.ts';
import { storeName } from '../store/index.ts';
import type { Checked, Finding } from './finding.ts';

type Cursors = ReadonlyMap<number, number>;

/**
 * Reads every segment.
 * @param cursors as the store says them; undefined if it does not
 */
export async function checkLog(
  dataDirectory: string,
  cursors: Cursors | undefined,
  checked: Checked,
): Promise<readonly Finding[]> {
  const shards = new Set([...(await shardsOf(dataDirectory)), ...(cursors?.keys() ?? [])]);
  const findings: Finding[] = [];
  for (const shard of [...shards].sort((a, b) => a - b)) {
    const look = new ShardCheck(dataDirectory, shard, cursors);
    findings.push(...(await look.run(checked)));
    for (const { name, why } of await rawDamage(nodeDisk, dataDirectory, shard)) {
      findings.push({
        part: 'raw',
        level: 'damage',
        where: join('raw', String(shard), name),
        seen: why,
        covers: 'its events are rows already; reload cannot derive them anew',
        remedy: 'put it back from a backup, or remove it',
      });
    }
  }
  return findings;
}

async function shardsOf(dataDirectory: string): Promise<readonly number[]> {
  try {
    return await shardsIn(nodeDisk, dataDirectory, 0);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** One shard on its way. */
class ShardCheck {
  readonly #data: string;
  readonly #shard: number;
  /** Undefined if the store does not say. */
  readonly #cursor: number | undefined;
  readonly #findings: Finding[] = [];

  constructor(data: string, shard: number, cursors: Cursors | undefined) {
    this.#data = data;
    this.#shard = shard;
    this.#cursor = cursors && (cursors.get(shard) ?? 0);
  }

  async run(checked: Checked): Promise<readonly Finding[]> {
    const directory = shardDirectory(this.#data, this.#shard);
    let log: LogInspector | undefined;
    try {
      log = await LogInspector.open(nodeDisk, directory);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    /** Behind the last record, and behind every byte that was written. */
    let [end, last] = [0, 0];
    for (const base of log?.bases ?? []) {
      const segment = await log?.segment(base);
      if (!segment) continue;
      checked.segments += 1;
      checked.records += segment.records.length;
      checked.bytes += segment.fileBytes;
      this.#lookAt(segment, end);
      end = Math.max(segment.end, end);
      last = base + segment.fileBytes;
    }
    this.#lookAtBegin(log?.bases[0]);
    this.#lookAtEnd(Math.max(end, last), end);
    return this.#findings;
  }

  #lookAt(segment: Inspected, before: number): void {
    const { base, headersWhole, records, damage, tornBytes, isSealed } = segment;
    const path = segmentPath(shardDirectory(this.#data, this.#shard), base);
    const where = relative(this.#data, path);
    const shared = { part: 'log', where } as const;
    const previousEnd = before === 0 ? base : Math.min(before, base);
    if (headersWhole < 2 && (records.length > 0 || headersWhole === 1)) {
      const header = { shard: this.#shard, base, previousEnd } as const;
      this.#findings.push({
        ...shared,
        level: 'note',
        seen: headersWhole === 1 ? 'one of the two headers is damaged' : 'both headers are damaged',
        covers: `nothing: ${headersWhole === 1 ? 'the other one is used' : 'its frames tell it'}`,
        remedy: 'none is needed; --repair writes them anew',
        fix: { kind: 'header', ...header },
      });
    }
    for (const part of damage) {
      const range = `${this.#receipt(part.from)} to ${this.#receipt(part.to)}`;
      const bytes = part.to - part.from;
      const isLoaded = this.#cursor !== undefined && part.to <= this.#cursor;
      const covered = { kind: 'skip', shard: this.#shard, base, gap: part } as const;
      this.#findings.push({
        part: 'log',
        level: isLoaded ? 'note' : 'damage',
        where: range,
        seen: `${part.reason}, in ${where}`,
        covers: isLoaded
          ? `${bytes} bytes that are loaded: the store has what could be read of them then`
          : `the events in ${bytes} bytes that the store does not have`,
        remedy: isLoaded
          ? 'none is needed'
          : '--repair keeps the bytes aside, and loads what is around them',
        ...(isLoaded ? {} : { fix: covered }),
      });
    }
    if (tornBytes > 0 && !isSealed) {
      this.#findings.push({
        ...shared,
        level: 'note',
        seen: `${tornBytes} bytes at the end are no record`,
        covers: 'most likely what was being written when the server was killed, and not answered',
        remedy: 'none is needed: the next start cuts them off',
      });
    }
  }

  #lookAtBegin(first: number | undefined): void {
    const cursor = this.#cursor;
    if (first === undefined || cursor === undefined || cursor >= first) return;
    if (cursor === 0) {
      this.#findings.push({
        part: 'store',
        level: 'damage',
        where: `store/${storeName}`,
        seen: `the log of shard ${this.#shard} begins at ${first}, and this store has loaded none`,
        covers: 'what another store had loaded: rows that are not in files, quarantine, books',
        remedy: 'put the right store back; --repair makes one of the lake and the log',
        fix: { kind: 'rebuild' },
      });
      return;
    }
    this.#findings.push({
      part: 'log',
      level: 'damage',
      where: `${this.#receipt(cursor)} to ${this.#receipt(first)}`,
      seen: `the log begins at ${first}, and the store has loaded up to ${cursor} only`,
      covers: `the events in ${first - cursor} bytes: nothing is loaded any more`,
      remedy: 'put the segments back; --repair goes on where the log begins',
      fix: { kind: 'cursor', shard: this.#shard, next: first },
    });
  }

  #lookAtEnd(last: number, end: number): void {
    const cursor = this.#cursor;
    if (cursor === undefined || cursor <= last) return;
    this.#findings.push({
      part: 'log',
      level: 'damage',
      where: `log/${this.#shard}`,
      seen: `the log ends at ${last}, and the store has loaded up to ${cursor}`,
      covers: 'what came behind that and was not loaded, if anything: the shard is not loaded now',
      remedy: 'put the right folder back; --repair lets the log go on behind what was loaded',
      fix: {
        kind: 'continue',
        shard: this.#shard,
        base: cursor,
        previousEnd: Math.min(end, cursor),
      },
    });
  }

  #receipt(offset: number): string {
    return receiptText(this.#shard, offset);
  }
}
