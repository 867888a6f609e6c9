import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, fault, limits, messageOf, MillraceError } from '../base/index.ts';
import { nodeDisk, reserveBytes, type Watermark } from '../base/index.ts';
import type { DuckReader, Parameters } from '../store/index.ts';
import { writeArrow } from './arrow.ts';
import { type Format, type Piece, writeRows } from './formats.ts';

const interruptEveryMs = 50;
const sqlShownMax = 500;

/** What is asked for. Undefined limits are those of `limits.ts`. */
export type Asked = {
  readonly sql: string;
  readonly format: Format;
  readonly parameters?: Parameters | undefined;
  readonly timeoutMs?: number | undefined;
  readonly rowsMax?: number | undefined;
  readonly bytesMax?: number | undefined;
};

/** A query as it is shown. */
export type QueryReport = {
  readonly id: string;
  readonly state: 'running' | 'done' | 'failed';
  /** How the SQL begins. */
  readonly sql: string;
  readonly format: Format;
  readonly startedAt: string;
  readonly elapsedMs: number;
  /** Of the answer, so far. */
  readonly rows: number;
  readonly bytes: number;
  /** Why it failed. */
  readonly error?: string;
  readonly code?: string;
};

type Parts = {
  readonly id: string;
  readonly asked: Asked;
  /** What its answer holds, at least. */
  readonly watermark: Watermark;
  readonly clock: Clock;
  /** When nothing of it runs any more. */
  readonly onEnd: () => void;
  /** When it cannot be stopped. */
  readonly onStuck: () => void;
};

let lastTurn = Promise.resolve();

/**
 * One piece of all answers at a time, and in between whatever else this process has to do: making
 * text of rows keeps its main thread, which loads events too.
 */
function turn(): Promise<void> {
  lastTurn = lastTurn.then(() => new Promise((resolve) => setImmediate(resolve)));
  return lastTurn;
}

/** A query and its place among those that run at once; it ends by itself when its time is over. */
export class RunningQuery {
  /** Memory in use when it began, bytes. */
  memoryAtStart = 0;
  readonly #parts: Parts;
  readonly #startedAtMs: number;
  readonly #timer: NodeJS.Timeout;
  #reader: DuckReader | undefined;
  #source: AsyncGenerator<Piece> | undefined;
  /** What has been made and is not sent yet. */
  #held: (string | Uint8Array)[] = [];
  #isMade = false;
  #file: string | undefined;
  #work: Promise<unknown> = Promise.resolve();
  #isOver = false;
  #endedAtMs: number | undefined;
  #why: MillraceError | undefined;
  #rows = 0;
  #bytes = 0;

  constructor(parts: Parts) {
    const { timeoutMs = limits.queryTimeoutMs } = parts.asked;
    this.#parts = parts;
    this.#startedAtMs = parts.clock.nowMs();
    const late = () => this.end(fault('QUERY_TIMEOUT', { seen: timeoutMs / 1000 }));
    this.#timer = setTimeout(late, timeoutMs);
  }

  get id(): string {
    return this.#parts.id;
  }

  get watermark(): Watermark {
    return this.#parts.watermark;
  }

  report(): QueryReport {
    const { id, asked, clock } = this.#parts;
    const { sql, format } = asked;
    const why = this.#why && { error: this.#why.message, code: this.#why.code };
    return {
      id,
      state: this.#why ? 'failed' : this.#isOver ? 'done' : 'running',
      sql: sql.length > sqlShownMax ? `${sql.slice(0, sqlShownMax)}…` : sql,
      format,
      startedAt: new Date(this.#startedAtMs).toISOString(),
      elapsedMs: Math.max(0, (this.#endedAtMs ?? clock.nowMs()) - this.#startedAtMs),
      rows: this.#rows,
      bytes: this.#bytes,
      ...why,
    };
  }

  /** Begins, and makes the first of the answer. */
  async open(reader: DuckReader): Promise<void> {
    this.#reader = reader;
    if (this.#isOver) {
      reader.close();
      throw this.#why ?? fault('QUERY_CANCELLED');
    }
    this.#source = this.#make(reader);
    for (let bytes = 0; bytes < limits.queryHeldBytes; ) {
      const piece = await this.#next();
      if (piece === undefined) return;
      this.#held.push(piece);
      bytes += piece.length;
    }
  }

  /** The answer, piece by piece. @throws what ended it before its end */
  async *pieces(): AsyncGenerator<string | Uint8Array> {
    try {
      for (const piece of this.#held.splice(0)) yield piece;
      while (!this.#isMade) {
        const piece = await this.#next();
        if (piece !== undefined) yield piece;
      }
    } finally {
      this.#finish(this.#isMade ? undefined : fault('QUERY_CANCELLED'));
    }
  }

  /** Ends it, for a reason that whoever asked will get, unless it has ended. Idempotent. */
  end(why: MillraceError): void {
    this.#finish(why);
  }

  /** Looks after the file that it makes, if it makes one. */
  async look(): Promise<void> {
    if (this.#file === undefined || this.#isOver) return;
    const size = (await stat(this.#file).catch(() => undefined))?.size ?? 0;
    this.#count(0, size - this.#bytes);
    const { freeBytes, diskBytes } = await nodeDisk.room(dirname(this.#file));
    if (freeBytes < reserveBytes(diskBytes)) {
      this.end(fault('DISK_FULL', { seen: 'an answer as Parquet is made on the disk first' }));
    }
  }

  /** The next piece; undefined at the end. */
  async #next(): Promise<string | Uint8Array | undefined> {
    await turn();
    const work = this.#source?.next() ?? Promise.resolve({ done: true, value: undefined });
    this.#work = work.catch(() => undefined);
    try {
      const { done, value } = (await work) as IteratorResult<Piece, undefined>;
      if (this.#isOver) throw this.#why ?? fault('QUERY_CANCELLED');
      if (done || !value) {
        this.#isMade = true;
        return undefined;
      }
      this.#count(value.rows, this.#file === undefined ? Buffer.byteLength(value.data) : 0);
      if (this.#why) throw this.#why;
      return value.data;
    } catch (error) {
      const seen = { seen: messageOf(error) };
      const known = error instanceof MillraceError ? error : fault('QUERY_FAILED', seen, error);
      this.#finish(known);
      throw this.#why ?? known;
    }
  }

  /** Counts what is made; ends it when that is too much. */
  #count(rows: number, bytes: number): void {
    const { rowsMax = limits.queryRowsMax, bytesMax = limits.queryBytesMax } = this.#parts.asked;
    this.#rows += rows;
    this.#bytes += bytes;
    if (this.#rows > rowsMax) {
      this.end(fault('QUERY_TOO_LONG', { expected: rowsMax, unit: 'rows' }));
    } else if (this.#bytes > bytesMax) {
      this.end(fault('QUERY_TOO_LONG', { expected: bytesMax, unit: 'bytes' }));
    }
  }

  async *#make(reader: DuckReader): AsyncGenerator<Piece> {
    const { sql, format, parameters } = this.#parts.asked;
    if (format !== 'parquet') {
      const set = await reader.select(sql, parameters);
      yield* format === 'arrow' ? writeArrow(set) : writeRows(set, format);
      return;
    }
    this.#file = reader.newFile();
    const rows = await reader.selectInto(this.#file, sql, parameters);
    this.#count(rows, 0);
    await this.look();
    if (this.#why) throw this.#why;
    for await (const data of createReadStream(this.#file)) {
      yield { data: data as Buffer, rows: 0 };
    }
  }

  /** Stops what runs, and gives its place to others once nothing does. */
  #finish(why: MillraceError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#why = why;
    this.#endedAtMs = this.#parts.clock.nowMs();
    clearTimeout(this.#timer);
    const reader = this.#reader;
    reader?.interrupt();
    // An interrupt between two steps stops neither of them: again, until the work has ended.
    const again = setInterval(() => reader?.interrupt(), interruptEveryMs);
    const stuck = setTimeout(this.#parts.onStuck, limits.queryStuckMs);
    void this.#work.then(async () => {
      clearInterval(again);
      clearTimeout(stuck);
      await this.#source?.return(undefined).catch(() => undefined);
      reader?.close();
      if (this.#file !== undefined) await rm(this.#file, { force: true }).catch(() => undefined);
      this.#parts.onEnd();
    });
  }
}
