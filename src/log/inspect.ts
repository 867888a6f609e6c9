import { type Disk, type ReadableFile, readWhole } from '../base/index.ts';
import { decodeHeader, headerBytes, headersWhole, noRecords, type Records } from './format.ts';
import { scan, withoutZeros } from './format.ts';
import type { Damage } from './reader.ts';
import { headerFrom } from './salvage.ts';
import { listSegments, segmentPath } from './segments.ts';

/** A segment as it is on disk. */
export type Inspected = {
  readonly base: number;
  /** Offset behind its last record. */
  readonly end: number;
  readonly fileBytes: number;
  /** Another one follows: it is not written any more. */
  readonly isSealed: boolean;
  /** How many of the two copies of its header are whole. */
  readonly headersWhole: number;
  readonly records: Records;
  readonly damage: readonly Damage[];
  /**
   * Bytes behind the last record that are no record, without zeros behind them. In the last segment
   * they may be a group that is being written, or was when its process died: nothing of it was
   * answered.
   */
  readonly tornBytes: number;
};

/** Looks at a shard without changing it, whether it is written meanwhile or not. */
export class LogInspector {
  readonly #disk: Disk;
  readonly #directory: string;
  /** Ascending. */
  readonly bases: readonly number[];

  private constructor(disk: Disk, directory: string, bases: readonly number[]) {
    this.#disk = disk;
    this.#directory = directory;
    this.bases = bases;
  }

  static async open(disk: Disk, directory: string): Promise<LogInspector> {
    return new LogInspector(disk, directory, await listSegments(disk, directory));
  }

  /** Reads one segment whole. Throws what the disk throws: it may be gone by now. */
  async segment(base: number): Promise<Inspected> {
    const next = this.bases.find((other) => other > base);
    // Looked at first: what is in a segment when its successor is there does not change.
    const limit = next === undefined ? undefined : await this.#endBefore(next);
    const file = await readWhole(this.#disk, segmentPath(this.#directory, base));
    const bytes = limit === undefined ? file : file.subarray(0, Math.max(0, limit - base));
    const head = file.subarray(0, headerBytes);
    const shared = { base, fileBytes: file.length, isSealed: next !== undefined };
    const header = decodeHeader(head, base) ?? headerFrom(file, base, base);
    if (!header) {
      // As at a start: what is no longer than a header was being created.
      const isNone = limit === undefined && file.length <= headerBytes;
      const to = limit ?? base + file.length;
      const damage = isNone || to <= base ? [] : [{ from: base, to, reason: 'no valid header' }];
      const tornBytes = isNone ? file.length : 0;
      return { ...shared, end: base, headersWhole: 0, records: noRecords, damage, tornBytes };
    }
    const found = scan(header, bytes.subarray(headerBytes), base + headerBytes, true);
    const damage = found.gaps.map((gap): Damage => ({ ...gap, reason: 'not a valid frame' }));
    if (limit !== undefined && found.next < limit) {
      damage.push({ from: found.next, to: limit, reason: 'no valid frame to the end' });
    }
    const end = Math.max(found.next, limit ?? 0);
    return {
      ...shared,
      end: found.next,
      headersWhole: headersWhole(head, base),
      records: found.records,
      damage,
      tornBytes: Math.max(0, base + withoutZeros(file).length - end),
    };
  }

  /** Where the records of the segment before end, as the header says, if that can be read. */
  async #endBefore(base: number): Promise<number> {
    const file = await this.#disk.openRead(segmentPath(this.#directory, base));
    try {
      return decodeHeader(await headOf(file), base)?.previousEnd ?? base;
    } finally {
      await file.close();
    }
  }
}

async function headOf(file: ReadableFile): Promise<Buffer> {
  const bytes = Buffer.alloc(headerBytes);
  return bytes.subarray(0, await file.read(bytes, 0));
}
