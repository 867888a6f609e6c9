import { join } from 'node:path';
import { type Clock, type Disk, type DurableFile, fault, type Ids } from '../base/index.ts';
import { assert, isNoRoom, limits, type Mark, reserveBytes } from '../base/index.ts';
import { segmentBytes } from '../base/index.ts';
import { encodeFrame, encodeHeader, frameOverheadBytes, headerBytes } from './format.ts';
import type { SegmentHeader } from './format.ts';
import { Prepared } from './prepared.ts';
import { type Recovered, recoverShard } from './recover.ts';
import { segmentPath } from './segments.ts';

export type LogOptions = {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly ids: Ids;
  /** The shard's folder; made if need be. */
  readonly directory: string;
  /** A segment is sealed once it is this long; the default depends on the disk. */
  readonly segmentBytes?: number | undefined;
  /** Free bytes kept; the default depends on the disk (`reserveBytes`). */
  readonly reserveBytes?: number | undefined;
  /** Called once when the disk failed: the process must end, nothing more is answered. */
  readonly onFatal: (error: unknown) => void;
  /** Called after each group. */
  readonly onSync?: (group: { records: number; bytes: number; syncMs: number }) => void;
};

/** Who waits for a record to be on disk: one of these is called, once, and must not throw. */
export type Waiter = {
  readonly durable: (offset: number) => void;
  readonly refused: (error: unknown) => void;
};

type Waiting = {
  readonly record: Uint8Array;
  readonly events: number;
  readonly atMs: number;
  readonly waiter: Waiter;
};

/** What one write takes to the disk. */
type Group = {
  readonly waiting: readonly Waiting[];
  /** Bytes of its frames. */
  readonly size: number;
  readonly events: number;
};

type Segment = {
  readonly header: SegmentHeader;
  readonly file: DurableFile;
  /** Whether the file is longer than what was written: zeros follow. */
  readonly isPrepared: boolean;
};

/** The writing end of one shard: group commit into segments. */
export class Log {
  readonly recovered: Recovered;
  readonly #options: LogOptions;
  readonly #probe: DurableFile;
  readonly #prepared: Prepared;
  #segment: Segment;
  /** Nothing more is written to it: its successor was begun, and maybe its name is there. */
  #isSealed = false;
  /** When its first record came. */
  #heldSinceMs: number | undefined;
  readonly #begin: number;
  #durableOffset: number;
  #durableEvents = 0;
  #waiting: Waiting[] = [];
  #room = Buffer.alloc(0);
  #waitingBytes = 0;
  /** When the oldest record came that is not on disk. */
  #oldestAtMs: number | undefined;
  #scheduled = false;
  #writing: Promise<void> | undefined;
  #state: 'open' | 'closing' | 'failed' = 'open';
  #hasRoom = true;
  #freeBytes = Number.POSITIVE_INFINITY;
  #reserveBytes = 0;
  #segmentBytes = 0;
  #lastSyncAtMs: number;

  private constructor(
    options: LogOptions,
    recovered: Recovered,
    segment: Segment,
    probe: DurableFile,
    prepared: Prepared,
  ) {
    this.#options = options;
    this.recovered = recovered;
    this.#segment = segment;
    this.#probe = probe;
    this.#prepared = prepared;
    this.#begin = segment.header.base + headerBytes;
    this.#durableOffset = this.#begin;
    this.#lastSyncAtMs = options.clock.nowMs();
  }

  /** Recovers the shard and begins a new segment. Throws what the disk throws. */
  static async open(options: LogOptions): Promise<Log> {
    await options.disk.makeDirectory(options.directory);
    const recovered = await recoverShard(options.disk, options.directory);
    const prepared = await Prepared.open(options.disk, options.directory);
    const segment = await createSegment(options, recovered.base, recovered.previousEnd, prepared);
    const files = [segment.file];
    try {
      await recovered.cut();
      const probe = await options.disk.openDurable(join(options.directory, 'probe'));
      files.push(probe);
      const log = new Log(options, recovered, segment, probe, prepared);
      await log.#lookAtRoom();
      return log;
    } catch (error) {
      // Who lives on tries again.
      for (const file of files) await file.close();
      throw error;
    }
  }

  /** All records before this offset are on disk. */
  get durableOffset(): number {
    return this.#durableOffset;
  }

  /** What is on disk now. */
  get mark(): Mark {
    return {
      offset: this.#durableOffset,
      events: this.#durableEvents,
      begin: this.#begin,
      atMs: this.#options.clock.nowMs(),
    };
  }

  /** When a synced write last succeeded, ms since the epoch. */
  get lastSyncAtMs(): number {
    return this.#lastSyncAtMs;
  }

  /** Whether the disk has its reserve, as of the last look. */
  get hasRoom(): boolean {
    return this.#hasRoom;
  }

  /** Free bytes below which events are refused. */
  get reserveBytes(): number {
    return this.#reserveBytes;
  }

  /** Free bytes of the disk, as of the last look. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /**
   * Appends one record and resolves with its offset when it is on disk. Calls may run
   * concurrently; records that wait for the same write share it.
   * @param record 1 … `recordBytesMax` bytes; not copied before its write, do not reuse.
   * @param events how many it holds, for `mark`.
   * @throws LOG_FULL, LOG_BUSY, LOG_CLOSED: nothing of the record is or will be stored.
   */
  append(record: Uint8Array, events = 1): Promise<number> {
    return new Promise((durable, refused) => this.add(record, events, { durable, refused }));
  }

  /** The same for who needs no promise. @param atMs about now, ms since the epoch */
  add(
    record: Uint8Array,
    events: number,
    waiter: Waiter,
    atMs = this.#options.clock.nowMs(),
  ): void {
    assert(record.length > 0 && record.length <= limits.recordBytesMax, 'a record has its length');
    if (this.#state !== 'open') return waiter.refused(fault('LOG_CLOSED'));
    if (!this.#hasRoom) return waiter.refused(fault('LOG_FULL'));
    this.#oldestAtMs ??= atMs;
    const isBehind = atMs - this.#oldestAtMs > limits.pendingMsMax;
    if (isBehind || this.#waitingBytes + record.length > limits.pendingBytesMax) {
      return waiter.refused(fault('LOG_BUSY'));
    }
    this.#waiting.push({ record, events, atMs, waiter });
    this.#waitingBytes += record.length;
    this.#schedule();
  }

  /**
   * Looks at the disk's room and, when nothing was synced lately, proves that a synced write
   * still succeeds. Meant to be called every `probeEveryMs`.
   */
  async probe(): Promise<void> {
    await this.#lookAtRoom();
    // It may have been closed meanwhile, and its shard be another's.
    if (this.#state !== 'open') return;
    if (this.#isOld()) await this.#sealOld();
    // The clock may have been set back.
    const ageMs = Math.abs(this.#options.clock.nowMs() - this.#lastSyncAtMs);
    if (ageMs < limits.probeEveryMs) return;
    try {
      await this.#writeProbe();
    } catch (error) {
      if (!isNoRoom(error)) throw error;
      this.#hasRoom = false;
    }
  }

  async #writeProbe(): Promise<void> {
    await this.#probe.write(this.#options.ids.bytes(8), 0);
    this.#lastSyncAtMs = this.#options.clock.nowMs();
  }

  /** Writes what waits, then closes. Appends from now on are refused. */
  async close(): Promise<void> {
    if (this.#state === 'open') this.#state = 'closing';
    while (this.#waiting.length > 0 || this.#writing) {
      if (this.#isFailed()) return;
      await (this.#writing ?? this.#startWriting());
    }
    try {
      await this.#prepared.close();
      await this.#cutToLength();
    } catch (error) {
      // What cannot be cut off for want of room, the next start cuts off.
      if (!isNoRoom(error)) return this.#fail(error);
    }
    await this.#segment.file.close();
    await this.#probe.close();
  }

  /** One turn of the event loop later, so that all requests of this turn share the write. */
  #schedule(): void {
    if (this.#scheduled || this.#writing) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#writing && this.#waiting.length > 0) void this.#startWriting();
    });
  }

  #startWriting(): Promise<void> {
    assert(this.#waiting.length > 0, 'a write begins with something to write');
    this.#writing = this.#writeGroups().catch((error: unknown) => this.#fail(error));
    return this.#writing;
  }

  /** Whether the segment holds something, and for so long that it is to be dropped soon. */
  #isOld(): boolean {
    const { clock } = this.#options;
    const sinceMs = this.#heldSinceMs ?? Infinity;
    return clock.nowMs() - sinceMs >= limits.segmentAgeMsMax;
  }

  /** Nothing comes that would begin the next one. */
  async #sealOld(): Promise<void> {
    if (this.#writing) return;
    this.#writing = this.#beginSegment()
      .then(() => this.#writeGroups())
      .catch((error: unknown) => this.#fail(error));
    await this.#writing;
  }

  async #writeGroups(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#takeGroup();
      const done = await this.#writeGroup(group);
      if (!done) for (const { waiter } of group.waiting) waiter.refused(fault('LOG_FULL'));
    }
    // In the same step as the last look at what waits: an append from now on starts anew.
    this.#writing = undefined;
    this.#oldestAtMs = undefined;
  }

  #takeGroup(): Group {
    this.#oldestAtMs = this.#waiting[0]?.atMs;
    let [bytes, events, count] = [0, 0, 0];
    for (const one of this.#waiting) {
      if (count > 0 && bytes + one.record.length > limits.groupBytesMax) break;
      bytes += one.record.length;
      events += one.events;
      count += 1;
    }
    this.#waitingBytes -= bytes;
    const isAll = count === this.#waiting.length;
    const waiting = isAll ? this.#waiting : this.#waiting.splice(0, count);
    if (isAll) this.#waiting = [];
    return { waiting, size: bytes + count * frameOverheadBytes, events };
  }

  /** Whether the group is on disk; false if there was no room and nothing of it stayed. */
  async #writeGroup({ waiting, size, events }: Group): Promise<boolean> {
    const startedAt = performance.now();
    if (this.#isFull() || this.#isOld()) {
      if (!(await this.#beginSegment())) return false;
    }
    const { header, file } = this.#segment;
    const start = this.#durableOffset;
    const bytes = this.#roomFor(size);
    let at = 0;
    for (const { record } of waiting) {
      encodeFrame(header, start + at, record, bytes, at);
      at += frameOverheadBytes + record.length;
    }
    try {
      await file.write(bytes, start - header.base);
    } catch (error) {
      if (!isNoRoom(error)) throw error;
      this.#hasRoom = false;
      await file.truncate(start - header.base);
      return false;
    }
    this.#durableOffset = start + size;
    this.#heldSinceMs ??= this.#options.clock.nowMs();
    this.#durableEvents += events;
    this.#lastSyncAtMs = this.#options.clock.nowMs();
    this.#options.onSync?.({
      records: waiting.length,
      bytes: size,
      syncMs: performance.now() - startedAt,
    });
    this.#answer(waiting, start);
    this.#prepare();
    return true;
  }

  /** Memory for one group: the same again, for one is written at a time. */
  #roomFor(size: number): Buffer {
    if (size > limits.groupBytesMax) return Buffer.allocUnsafe(size);
    if (size > this.#room.length) {
      const room = Math.min(limits.groupBytesMax, Math.max(size, 2 * this.#room.length));
      this.#room = Buffer.allocUnsafeSlow(room);
    }
    return this.#room.subarray(0, size);
  }

  /** Whether the next segment is to begin: as soon as one is prepared, if this one is not. */
  #isFull(): boolean {
    const { header, isPrepared } = this.#segment;
    if (this.#isSealed || (!isPrepared && this.#prepared.isReady)) return true;
    return this.#durableOffset - header.base >= this.#segmentBytes;
  }

  /** Prepares the next segment, where so much comes that it is worth it. */
  #prepare(): void {
    if (this.#prepared.isBegun) return;
    const bytes = this.#segmentBytes;
    const written = this.#durableOffset - this.#segment.header.base;
    if (written < Math.min(limits.preparedFromBytes, bytes / 2)) return;
    if (this.#freeBytes - this.#reserveBytes < 2 * bytes) return;
    this.#prepared.start(bytes).catch((error: unknown) => this.#fail(error));
  }

  /** Cuts off the zeros behind what was written. */
  async #cutToLength(): Promise<void> {
    const { header, file, isPrepared } = this.#segment;
    if (isPrepared) await file.truncate(this.#durableOffset - header.base);
  }

  #answer(waiting: readonly Waiting[], start: number): void {
    let offset = start;
    for (const { record, waiter } of waiting) {
      waiter.durable(offset);
      offset += frameOverheadBytes + record.length;
    }
    assert(offset === this.#durableOffset, 'a group ends at the durable offset');
  }

  /** Whether there was room for a new segment. */
  async #beginSegment(): Promise<boolean> {
    const sealed = this.#segment.file;
    const end = this.#durableOffset;
    this.#isSealed = true;
    try {
      // Before the next one is there: from then on this one does not change.
      await this.#cutToLength();
      this.#segment = await createSegment(this.#options, end, end, this.#prepared);
    } catch (error) {
      if (!isNoRoom(error)) throw error;
      this.#hasRoom = false;
      return false;
    }
    this.#isSealed = false;
    this.#durableOffset += headerBytes;
    this.#heldSinceMs = undefined;
    await sealed.close();
    return true;
  }

  async #lookAtRoom(): Promise<void> {
    const { freeBytes, diskBytes } = await this.#options.disk.room(this.#options.directory);
    this.#freeBytes = freeBytes;
    this.#reserveBytes = this.#options.reserveBytes ?? reserveBytes(diskBytes);
    this.#segmentBytes = this.#options.segmentBytes ?? segmentBytes(diskBytes);
    this.#hasRoom = freeBytes > this.#reserveBytes;
  }

  #isFailed(): boolean {
    return this.#state === 'failed';
  }

  #fail(error: unknown): void {
    this.#state = 'failed';
    this.#options.onFatal(error);
  }
}

/** Creates a segment, its name durable. What it left behind without room is removed. */
async function createSegment(
  options: LogOptions,
  base: number,
  previousEnd: number,
  prepared: Prepared,
): Promise<Segment> {
  const { disk, ids, directory } = options;
  const random = ids.bytes(8);
  const [salt, marker] = [random.readUInt32LE(0), random.readUInt32LE(4)];
  const header = { base, previousEnd, salt, marker };
  const head = encodeHeader(header);
  const path = segmentPath(directory, base);
  const taken = await prepared.take(path, head);
  const file = taken ?? (await disk.create(path));
  try {
    if (!taken) await file.write(head, 0);
    await disk.syncDirectory(directory);
  } catch (error) {
    await file.close();
    if (isNoRoom(error)) {
      await disk.remove(path);
      await disk.syncDirectory(directory);
    }
    throw error;
  }
  return { header, file, isPrepared: taken !== undefined };
}
