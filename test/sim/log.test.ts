import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { type Ids, isFault, limits, sleep } from '../../src/base/index.ts';
import { KeptRecords, Log, LogReader, RawShard } from '../../src/log/index.ts';
import { type Random, seeded, SimDisk } from './disk.ts';
import { keptRuns } from './kept-runs.ts';

/*
 * The real log over a disk that tears, reorders and forgets, against a model of twenty lines: what
 * was acknowledged, what was refused, and what nobody knows.
 */

const directory = '/log/0';
const segmentBytes = 700;
const headerBytes = 80;
const frameOverheadBytes = 12;

type Action =
  | { readonly kind: 'append'; readonly sizes: readonly number[] }
  | { readonly kind: 'settle' }
  | { readonly kind: 'load' }
  | { readonly kind: 'wait'; readonly turns: number }
  | { readonly kind: 'crash'; readonly how: 'power' | 'kill'; readonly sizes: readonly number[] }
  | { readonly kind: 'noRoom'; readonly skip: number }
  | { readonly kind: 'failedSync'; readonly skip: number }
  | { readonly kind: 'rot'; readonly at: number }
  | { readonly kind: 'hour' }
  | { readonly kind: 'restart' };

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      sizes: fc.array(fc.integer({ min: 1, max: 1_500 }), { minLength: 1, maxLength: 6 }),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: 'settle' } as const) },
  { weight: 3, arbitrary: fc.constant({ kind: 'load' } as const) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), turns: fc.nat({ max: 6 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('crash' as const),
      how: fc.constantFrom('power' as const, 'kill' as const),
      sizes: fc.array(fc.integer({ min: 1, max: 2_000 }), { maxLength: 6 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('noRoom' as const), skip: fc.nat({ max: 8 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('failedSync' as const), skip: fc.nat({ max: 8 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('rot' as const),
      at: fc.integer({ min: 1, max: 900 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'hour' } as const) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' } as const) },
);

const refusals = ['LOG_FULL', 'LOG_BUSY', 'LOG_CLOSED'] as const;

type Outcome = { state: 'unknown' | 'acknowledged' | 'refused'; offset: number; bytes: number };

/**
 * A machine with a log, and a store that remembers what it loaded together with its cursor. Some
 * keep what was loaded raw.
 */
class World {
  readonly random: Random;
  disk: SimDisk;
  log: Log | undefined;
  readonly outcomes = new Map<string, Outcome>();
  readonly loaded = new Map<string, number>();
  /** Damage that a recovery has found. */
  readonly gaps: { readonly from: number; readonly to: number }[] = [];
  /** Segments in which loading found damage: they are not kept. */
  readonly damaged: { readonly from: number; readonly to: number }[] = [];
  /** Offsets of bytes that were damaged after they were loaded. */
  readonly rotten: number[] = [];
  cursor = 0;
  nowMs = 0;
  /** How often something happened, to see that a run is not empty. */
  readonly seen = { acknowledged: 0, refused: 0, crashes: 0, torn: 0, dropped: 0, kept: 0 };
  readonly #keepsRaw: boolean;
  #pending: Promise<unknown>[] = [];
  #hasFailed = false;
  #count = 0;

  constructor(seed: number, keepsRaw: boolean) {
    this.random = seeded(seed);
    this.#keepsRaw = keepsRaw;
    this.disk = new SimDisk(this.random);
  }

  async open(): Promise<void> {
    const ids: Ids = {
      bytes: (count) => Buffer.from(Array.from({ length: count }, () => this.random() * 256)),
    };
    for (;;) {
      this.#hasFailed = false;
      try {
        this.log = await Log.open({
          disk: this.disk,
          clock: { nowMs: () => this.nowMs },
          ids,
          directory,
          segmentBytes,
          reserveBytes: 0,
          onFatal: () => {
            this.#hasFailed = true;
          },
        });
        break;
      } catch {
        // A start that fails is a process that ends: what it did stays, and the next one tries.
        this.disk = this.disk.crash('kill');
      }
    }
    const { tornBytes, gaps } = this.log.recovered;
    if (tornBytes > 0) this.seen.torn += 1;
    for (const gap of gaps) this.mustNotHoldAcknowledged(gap.from, gap.to);
    this.gaps.push(...gaps);
  }

  append(size: number): void {
    const id = `${(this.#count += 1)}:`;
    const record = Buffer.alloc(Math.max(size, id.length), id);
    const outcome: Outcome = { state: 'unknown', offset: -1, bytes: record.length };
    this.outcomes.set(id, outcome);
    const appended = this.log?.append(record).then(
      (offset) => {
        Object.assign(outcome, { state: 'acknowledged', offset });
        this.seen.acknowledged += 1;
        expect(this.log?.durableOffset).toBeGreaterThanOrEqual(offset + record.length);
      },
      (error: unknown) => {
        if (!refusals.some((code) => isFault(error, code))) throw error;
        outcome.state = 'refused';
        this.seen.refused += 1;
      },
    );
    if (appended) this.#pending.push(appended);
  }

  /** Waits for the answers; a process whose sync failed gives none and is started again. */
  async settle(): Promise<void> {
    const all = Promise.all(this.#pending).then(() => 'answered');
    while (!this.#hasFailed) {
      const turn = new Promise<string>((resolve) => setImmediate(() => resolve('turn')));
      if ((await Promise.race([all, turn])) === 'answered') break;
    }
    if (this.#hasFailed) await this.crash('kill');
    this.#pending = [];
    await this.log?.probe().catch(() => undefined);
  }

  async crash(how: 'power' | 'kill'): Promise<void> {
    this.seen.crashes += 1;
    this.#pending = [];
    this.disk = this.disk.crash(how);
    await this.open();
  }

  /** Waits for `work`, or crashes if the machine stops meanwhile. */
  async unlessStopped(work: Promise<void>, how: 'power' | 'kill'): Promise<void> {
    const { disk } = this;
    const over = new AbortController();
    void work.finally(() => over.abort());
    while (!disk.isDead && !over.signal.aborted) await sleep(0);
    if (over.signal.aborted) return work;
    if (this.disk === disk) await this.crash(how);
  }

  async loadAll(): Promise<void> {
    await this.settle();
    while (this.cursor < (this.log?.durableOffset ?? 0)) await this.load();
  }

  /** Damages what the store already holds, near the log's end, and starts anew. */
  async rot(at: number): Promise<void> {
    await this.loadAll();
    const path = this.disk.paths().findLast((name) => name.endsWith('.seg'));
    if (path === undefined) return;
    const bytes = Buffer.from(this.disk.peek(path));
    const index = Math.max(headerBytes, bytes.length - at);
    if (index >= bytes.length) return;
    bytes[index] = (bytes[index] ?? 0) ^ 0xff;
    this.rotten.push(Number(path.slice(-24, -4)) + index);
    this.disk.poke(path, bytes);
    await this.crash('kill');
  }

  /** Loads all that is durable; a fault on the way is a batch that is read anew. */
  async load(): Promise<void> {
    const durable = this.log?.durableOffset ?? 0;
    const reader = await LogReader.open(this.disk, directory).catch(() => undefined);
    if (!reader) return;
    try {
      while (this.cursor < durable) {
        const batch = await reader.read(this.cursor, durable, 1_000);
        expect(batch.next).toBeGreaterThan(this.cursor);
        for (const { from, to } of batch.damage) {
          const isKnown = this.gaps.some((gap) => gap.from <= from && to <= gap.to);
          expect(isKnown, `a false alarm: damage ${from}…${to}`).toBe(true);
          const base = reader.baseAt(from) ?? 0;
          this.damaged.push({ from: base, to: reader.baseAfter(from) ?? to });
        }
        for (const { record, offset } of batch.records) this.take(record, offset);
        this.cursor = batch.next;
      }
      const raw = await this.raw();
      if (this.#keepsRaw) {
        for (const base of reader.sealedBefore(this.cursor))
          await raw.keep(base, 1_700_000_000_000);
      }
      const mayGo = (base: number) => !this.#keepsRaw || raw.has(base);
      this.seen.dropped += await reader.drop(this.cursor, mayGo);
    } catch (error) {
      if (!['EIO', 'ENOSPC'].includes(String((error as NodeJS.ErrnoException).code))) throw error;
    }
  }

  raw(): Promise<RawShard> {
    return RawShard.open(this.disk, '/', 0, true);
  }

  /** What was loaded is there a second time, in its order. */
  async checkRaw(): Promise<void> {
    if (!this.#keepsRaw) return;
    // A fault that has not struck yet is none of what is checked.
    this.disk = this.disk.crash('kill');
    const raw = await this.raw();
    this.seen.kept += raw.segments.length;
    const kept = await KeptRecords.open(raw);
    const found: number[] = [];
    for await (const { records, damage } of kept.read(kept.firstOffset, this.cursor)) {
      for (const { record, offset } of records) {
        const id = record.subarray(0, record.indexOf(':') + 1).toString();
        expect(record.equals(Buffer.alloc(record.length, id)), 'a record is as it was').toBe(true);
        expect(this.loaded.get(id), `record ${id}`).toBe(offset);
        if (!this.isLost(offset, offset + frameOverheadBytes + record.length)) found.push(offset);
      }
      for (const { from, to } of damage) {
        expect(this.isLost(from, to), `a false alarm: ${from}…${to}`).toBe(true);
      }
    }
    const expected = [...this.loaded].flatMap(([id, offset]) => {
      const end = offset + frameOverheadBytes + (this.outcomes.get(id)?.bytes ?? 0);
      return this.isLost(offset, end) ? [] : offset;
    });
    expect(found).toEqual(expected.sort((a, b) => a - b));
  }

  /** Whether a part of some bytes was damaged, or lies in a segment that is not kept. */
  isLost(from: number, to: number): boolean {
    const rotten = this.rotten.map((offset) => ({ from: offset, to: offset + 1 }));
    return [...this.damaged, ...rotten, ...this.gaps].some((gap) => gap.from < to && gap.to > from);
  }

  take(record: Buffer, offset: number): void {
    const id = record.subarray(0, record.indexOf(':') + 1).toString();
    const outcome = this.outcomes.get(id);
    expect(outcome, `record ${id} was appended`).toBeDefined();
    expect(record.equals(Buffer.alloc(record.length, id)), 'a record is as it was').toBe(true);
    expect(record.length).toBe(outcome?.bytes);
    expect(outcome?.state, `record ${id} at ${offset}`).not.toBe('refused');
    if (outcome?.state === 'acknowledged') expect(offset).toBe(outcome.offset);
    expect(this.loaded.has(id), `record ${id} is loaded once`).toBe(false);
    this.loaded.set(id, offset);
  }

  mustNotHoldAcknowledged(from: number, to: number): void {
    for (const [id, { state, offset, bytes }] of this.outcomes) {
      if (this.loaded.has(id)) continue;
      const inside = state === 'acknowledged' && offset < to && offset + bytes > from;
      expect(inside, `record ${id} at ${offset} lies in damage ${from}…${to}`).toBe(false);
    }
  }

  check(): void {
    for (const [id, { state, offset }] of this.outcomes) {
      if (state === 'acknowledged') expect(this.loaded.get(id), `record ${id}`).toBe(offset);
    }
    const offsets = [...this.loaded.values()];
    expect(new Set(offsets).size, 'no offset is used twice').toBe(offsets.length);
  }
}

async function perform(world: World, step: Action): Promise<void> {
  switch (step.kind) {
    case 'append':
      for (const size of step.sizes) world.append(size);
      return;
    case 'settle':
      return world.settle();
    case 'load':
      return world.load();
    case 'wait':
      for (let turn = 0; turn < step.turns; turn += 1) await new Promise(setImmediate);
      return;
    case 'crash':
      // In the middle of a write, if there is one.
      for (const size of step.sizes) world.append(size);
      await new Promise(setImmediate);
      return world.crash(step.how);
    case 'noRoom':
      return world.disk.failNext('ENOSPC', step.skip);
    case 'failedSync':
      return world.disk.failNext('EIO', step.skip);
    case 'rot':
      return world.rot(step.at);
    case 'hour':
      world.nowMs += limits.segmentAgeMsMax;
      return;
    case 'restart':
      await world.settle();
      await world.log?.close();
      return world.open();
  }
}

async function run(
  seed: number,
  actions: readonly Action[],
  keepsRaw = seed % 2 === 0,
): Promise<World> {
  const world = new World(seed, keepsRaw);
  await world.open();
  for (const step of actions) await perform(world, step);
  await world.loadAll();
  world.check();
  await world.checkRaw();
  return world;
}

const totals = { acknowledged: 0, refused: 0, crashes: 0, torn: 0, dropped: 0, kept: 0 };

describe('the log over a faulty disk', () => {
  const runs = Number(process.env.SIM_RUNS ?? 2_000);
  const timeout = Math.max(120_000, runs * 60);

  test('gives what was acknowledged once, and nothing that was refused', { timeout }, async () => {
    const property = fc.asyncProperty(
      fc.integer(),
      fc.array(action, { minLength: 1, maxLength: 40 }),
      async (seed, actions) => {
        const { seen } = await run(seed, actions);
        for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] += seen[key];
      },
    );
    const seed = process.env.SIM_SEED;
    const settings = { numRuns: runs, interruptAfterTimeLimit: timeout - 20_000 };
    await fc.assert(property, { ...settings, ...(seed ? { seed: Number(seed) } : {}) });
  });

  test('met every kind of trouble on the way', () => {
    expect(totals.acknowledged).toBeGreaterThan(2 * runs);
    expect(totals.refused).toBeGreaterThan(runs / 30);
    expect(totals.crashes).toBeGreaterThan(runs / 4);
    expect(totals.torn).toBeGreaterThan(runs / 60);
    expect(totals.dropped).toBeGreaterThan(runs / 2);
    expect(totals.kept).toBeGreaterThan(runs / 4);
  });

  test('a segment that is old is sealed and dropped, also when nothing comes', async () => {
    const world = new World(1, false);
    await world.open();
    const segments = () => world.disk.paths().filter((path) => path.endsWith('.seg'));
    await world.loadAll();
    const [empty] = segments();
    world.nowMs += limits.segmentAgeMsMax;
    await world.loadAll();
    expect(segments()).toEqual([empty]);
    world.append(10);
    await world.loadAll();
    world.nowMs += limits.segmentAgeMsMax - 1;
    await world.loadAll();
    expect(segments()).toEqual([empty]);
    world.nowMs += 1;
    await world.loadAll();
    expect(segments()).toHaveLength(1);
    expect(segments()).not.toEqual([empty]);
    world.check();
  });

  test('the next segment is prepared, and cut to its length when it is sealed', async () => {
    const world = new World(1, false);
    await world.open();
    const files = () => world.disk.paths().filter((path) => /next$|seg$/.test(path));
    const lengths = () => files().map((path) => world.disk.peek(path).length);
    const lengthOf = (record: number) => headerBytes + frameOverheadBytes + record;
    world.append(400);
    await vi.waitFor(() => expect(lengths()).toEqual([lengthOf(400), segmentBytes]));
    await sleep(10);
    expect(files().at(-1)).toMatch(/next$/);
    // It takes over as soon as it can, with zeros behind what is written.
    world.append(10);
    await world.settle();
    expect(lengths()).toEqual([lengthOf(400), segmentBytes]);
    expect(files().at(-1)).toMatch(/seg$/);
    await world.log?.close();
    expect(lengths()).toEqual([lengthOf(400), lengthOf(10)]);
    await world.open();
    await world.loadAll();
    world.check();
  });

  test('nothing is written behind a segment that could not be taken back', async () => {
    const world = new World(1, false);
    await world.open();
    world.append(400);
    const next = `${directory}/next`;
    await vi.waitFor(() => expect(world.disk.peek(next).length).toBe(segmentBytes));
    await sleep(10);
    const noRoom = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    vi.spyOn(world.disk, 'syncDirectory').mockRejectedValueOnce(noRoom);
    vi.spyOn(world.disk, 'remove').mockRejectedValueOnce(noRoom);
    world.append(10);
    await world.settle();
    expect(world.seen.refused).toBe(1);
    world.append(20);
    await world.loadAll();
    world.append(30);
    await world.loadAll();
    world.check();
  });

  test('a look at the disk that ends after the log was closed begins no segment', async () => {
    const world = new World(1, false);
    await world.open();
    world.append(10);
    await world.settle();
    const { promise, resolve } = Promise.withResolvers<{ freeBytes: number; diskBytes: number }>();
    vi.spyOn(world.disk, 'room').mockReturnValueOnce(promise);
    world.nowMs += limits.segmentAgeMsMax;
    const probed = world.log?.probe();
    await world.log?.close();
    const before = world.disk.paths();
    resolve({ freeBytes: 1e12, diskBytes: 1e12 });
    await probed;
    expect(world.disk.paths()).toEqual(before);
  });

  test.each(keptRuns)('$why', async ({ seed, actions }) => {
    await run(seed, actions as readonly Action[]);
  });

  for (const fault of ['EIO', 'ENOSPC', 'power', 'kill'] as const) {
    test(`${fault} at the first, second, third … operation, until a run has none`, async () => {
      for (const keepsRaw of [false, true]) {
        let index = 0;
        // What a machine that stops was compressing is never freed: some of its steps must do.
        const stride = keepsRaw && (fault === 'power' || fault === 'kill') ? 3 : 1;
        while (await runWithFaultAt(index, fault, keepsRaw)) index += stride;
        expect(index).toBeGreaterThan(keepsRaw ? 100 : 35);
      }
    });
  }
});

/** One fixed history, with a fault at one operation. Returns whether it struck. */
async function runWithFaultAt(
  index: number,
  fault: 'EIO' | 'ENOSPC' | 'power' | 'kill',
  keepsRaw: boolean,
) {
  const world = new World(index, keepsRaw);
  if (fault === 'EIO' || fault === 'ENOSPC') world.disk.failNext(fault, index);
  else world.disk.stopAt = index + 1;
  const { disk } = world;
  const how = fault === 'power' ? 'power' : 'kill';
  await world.unlessStopped(world.open(), how);
  for (const sizes of [[10, 400], [300], [900], [20, 20, 20], [1_400], [5]]) {
    for (const size of sizes) world.append(size);
    await world.unlessStopped(world.settle(), how);
    await world.unlessStopped(world.load(), how);
  }
  const hasStruck = how === fault ? disk.isDead : disk.hasStruck;
  // What was refused must not be found by a recovery either.
  await world.crash('kill');
  await world.loadAll();
  world.check();
  await world.checkRaw();
  return hasStruck;
}
