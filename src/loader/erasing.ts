import { fault, patient, type Task } from '../base/index.ts';
import { columnName, decodeSubmission, isErased, type Member } from '../event/index.ts';
import { membersOf, offsetBits, type Postback, readRecord } from '../event/index.ts';
import { receiptNumber, receiptText } from '../event/index.ts';
import type { Between, Candidate, Erasure, Predicate } from '../store/index.ts';
import type { QuarantineRow, Store } from '../store/index.ts';
import type { Archivist } from './archivist.ts';
import { postbackOf } from './batch.ts';
import type { RawKeeper } from './raw-keeper.ts';
import type { Shard } from './shard.ts';

type Table = { readonly database: string; readonly table: string };

/** Events that were meant, by the place where they were. */
export type ErasureReport = Erasure & {
  readonly quarantine: number;
  /**
   * Records that are loaded already: in the log, where they go with their segment, an hour after
   * it was begun at the latest, and raw, where they are overwritten after that. Until then the
   * erasure is open: see `millrace.erasures`.
   */
  readonly log: number;
};

type Parts = {
  readonly store: Store;
  readonly archivist: Archivist;
  readonly shards: readonly Shard[];
  readonly raw: RawKeeper;
};

/** Removes events for good, wherever they are: rows, files, rescued values, quarantine, log. */
export class Erasing {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Erases what was loaded so far. A kill on the way is no harm: the next start goes on.
   * @throws BAD_PREDICATE, NO_SUCH_TABLE
   */
  async erase(
    table: Table,
    where: string,
    isDry: boolean,
    { progress }: Pick<Task, 'progress'> = patient,
  ): Promise<ErasureReport> {
    const { store, archivist } = this.#parts;
    const { database, table: name } = table;
    const predicate = await store.eraser.predicate(database, name, where);
    return archivist.alone(async (between) => {
      const inLog = await this.#countLog(table, predicate);
      const { hot, files } = await store.eraser.count(database, name, predicate);
      const parked = await this.#parked(table, predicate);
      const report = { hot, files, quarantine: parked.length, log: inLog };
      if (hot + files + parked.length + inLog === 0) this.#mustBeKnown(table, predicate);
      if (isDry) return report;
      const until = new Map(this.#parts.shards.map(({ shard, cursor }) => [shard, cursor]));
      const id = await between(() => store.eraser.begin(database, name, where, until));
      await this.#run(id, table, predicate, between, progress);
      return report;
    });
  }

  /** Goes on with what was not finished. @returns whether there was something to do */
  async goOn(): Promise<boolean> {
    const { store, archivist } = this.#parts;
    let isDone = false;
    for (const { id, database, table, where, areRowsGone, until } of store.eraser.open) {
      if (!areRowsGone) {
        const predicate = await store.eraser.predicate(database, table, where);
        await archivist.alone((between) => {
          return this.#run(id, { database, table }, predicate, between);
        });
        isDone = true;
      }
      if (!this.#isDropped(until)) continue;
      const predicate = await store.eraser.predicate(database, table, where);
      await this.#eraseRaw({ database, table }, predicate, until);
      await archivist.alone((between) => between(() => store.eraser.finish(id)));
      isDone = true;
    }
    return isDone;
  }

  async #run(
    id: number,
    { database, table }: Table,
    predicate: Predicate,
    between: Between,
    progress: Task['progress'] = patient.progress,
  ): Promise<void> {
    const { store } = this.#parts;
    const tell = (done: number, total: number) => progress({ done, total, unit: 'files' });
    await store.eraser.erase(id, database, table, predicate, between, tell);
    for (let after: QuarantineRow | undefined; ; ) {
      const found = await this.#nextParked({ database, table }, predicate, after);
      if (!found) break;
      after = found.last;
      const receipts = found.matches;
      if (receipts.length === 0) continue;
      const note = (events: number) => store.eraser.note(id, 'quarantine', events);
      await between(() => store.parked.drop({ receipts }, note));
    }
    await between(() => store.eraser.rowsGone(id));
  }

  async #parked(table: Table, predicate: Predicate): Promise<readonly bigint[]> {
    const all: bigint[] = [];
    for (let after: QuarantineRow | undefined; ; ) {
      const found = await this.#nextParked(table, predicate, after);
      if (!found) return all;
      after = found.last;
      all.push(...found.matches);
    }
  }

  /** The next events in quarantine for a table, and which of them are meant. */
  async #nextParked(
    { database, table }: Table,
    predicate: Predicate,
    after: QuarantineRow | undefined,
  ): Promise<{ readonly last: QuarantineRow; readonly matches: readonly bigint[] } | undefined> {
    const { store } = this.#parts;
    const rows = await store.parked.next({ database, table }, after);
    const last = rows.at(-1);
    if (!last) return undefined;
    const candidates = rows.flatMap((row) => candidatesOf(row, postbackOf(row), predicate));
    const matches = await store.eraser.matches(database, table, predicate, candidates);
    return { last, matches };
  }

  /** Overwrites what is kept raw, once all of it is there that was in the log. */
  async #eraseRaw(
    table: Table,
    predicate: Predicate,
    until: ReadonlyMap<number, number>,
  ): Promise<void> {
    for (const [shard, to] of until) {
      for await (const receipts of this.#matchesIn(table, predicate, shard, to)) {
        const meant = receipts.map((receipt) => {
          return { shard, offset: Number(receipt & (2n ** offsetBits - 1n)) };
        });
        await this.#parts.raw.erase(meant);
      }
    }
  }

  /** Events that were loaded and whose bytes are there yet, in the log or raw. */
  async #countLog(table: Table, predicate: Predicate): Promise<number> {
    let count = 0;
    for (const { shard, cursor } of this.#parts.shards) {
      for await (const receipts of this.#matchesIn(table, predicate, shard, cursor)) {
        count += receipts.length;
      }
    }
    return count;
  }

  /** The receipts of events that are meant, of a shard's kept bytes before an offset. */
  async *#matchesIn(
    { database, table }: Table,
    predicate: Predicate,
    shard: number,
    to: number,
  ): AsyncGenerator<readonly bigint[]> {
    const { store, raw } = this.#parts;
    const kept = await raw.records(shard);
    try {
      for await (const { records } of kept.read(Math.min(kept.firstOffset, to), to)) {
        const candidates = [...records].flatMap(({ offset, record }) => {
          return decodeSubmission(record).flatMap(({ at: inside, postback }) => {
            const isMeant = postback.database === database && postback.table === table;
            if (!isMeant || isErased(postback.body)) return [];
            return candidatesOf({ shard, offset: offset + inside }, postback, predicate);
          });
        });
        yield await store.eraser.matches(database, table, predicate, candidates);
      }
    } finally {
      await kept.close();
    }
  }

  /** Whether the segments that were there when an erasure began are gone. */
  #isDropped(until: ReadonlyMap<number, number>): boolean {
    return this.#parts.shards.every(({ shard, reader }) => {
      const offset = until.get(shard);
      return offset === undefined || reader.firstOffset >= offset;
    });
  }

  /** A name that is neither a column's nor found anywhere is most likely a slip. */
  #mustBeKnown({ database, table }: Table, { names }: Predicate): void {
    const columns = this.#parts.store.schema(database, table)?.columns;
    if (!columns) throw fault('NO_SUCH_TABLE', { seen: `${database}.${table}` });
    const own = ['time', '_receipt', '_rescued_data'];
    const seen = names.find((name) => !columns.has(name) && !own.includes(name));
    if (seen !== undefined) throw fault('NO_SUCH_COLUMN', { seen, table: `${database}.${table}` });
  }
}

/** An event as a predicate sees it; several times if keys of it have the same name. */
function candidatesOf(
  { shard, offset }: { readonly shard: number; readonly offset: number },
  postback: Postback,
  { names }: Predicate,
): readonly Candidate[] {
  const receipt = receiptNumber(shard, offset);
  const { members, time } = readEvent(postback);
  const values = new Map([['_receipt', receiptText(shard, offset)]]);
  if (time !== undefined) values.set('time', String(time));
  const known = new Map([...values].filter(([name]) => names.includes(name)));
  const others: Candidate[] = [];
  for (const { key, kind, text } of members) {
    const name = columnName(key);
    if (kind === 'null' || !names.includes(name)) continue;
    const value = kind === 'string' ? String(JSON.parse(text)) : text;
    if (known.has(name)) others.push({ receipt, values: new Map(known).set(name, value) });
    else known.set(name, value);
  }
  return [{ receipt, values: known }, ...others];
}

/** What cannot be read as its dialect says is read as it is. */
function readEvent(postback: Postback): {
  readonly members: readonly Member[];
  readonly time?: number;
} {
  try {
    return readRecord(postback);
  } catch {
    return { members: membersOf(postback.body.toString('utf8')) };
  }
}
