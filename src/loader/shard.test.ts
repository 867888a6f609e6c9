import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Mark } from '../base/index.ts';
import type { LogReader } from '../log/index.ts';
import { Counted, Shard } from './shard.ts';

const reader = {} as LogReader;
const mark = (offset: number, events: number, begin = 80, atMs = offset): Mark => {
  return { offset, events, begin, atMs };
};
type Read = { readonly offset: number; readonly events: number };
const record = (offset: number, events = 1): Read => ({ offset, events });
const counted = (...records: readonly Read[]): Counted => {
  const all = new Counted();
  for (const { offset, events } of records) all.add(offset, events);
  return all;
};

describe('a shard', () => {
  test('agrees with its writer when every event was read', () => {
    const shard = new Shard(0, reader, 80);
    shard.hear(mark(80, 0));
    shard.hear(mark(200, 3));
    shard.hear(mark(300, 4));
    expect([shard.waitingEvents, shard.completeToMs]).toEqual([4, 80]);
    shard.committed(250, counted(record(80, 2), record(140), record(200)));
    expect([shard.waitingEvents, shard.completeToMs]).toEqual([0, 200]);
    shard.committed(300, counted());
    expect([shard.missing, shard.completeToMs]).toEqual([0, 300]);
  });

  test('misses what was acknowledged and not read; too much and too little do not cancel', () => {
    const shard = new Shard(0, reader, 80);
    shard.hear(mark(80, 0));
    shard.hear(mark(200, 3));
    shard.committed(200, counted(record(80)));
    shard.hear(mark(300, 4));
    shard.committed(300, counted(record(200), record(250), record(260)));
    expect(shard.missing).toBe(2 + 2);
  });

  test('claims nothing of the time before a writer was heard of', () => {
    const shard = new Shard(0, reader, 80);
    shard.hear(mark(5_000, 50, 80, 9_000));
    expect([shard.completeToMs, shard.waitingEvents]).toEqual([0, 50]);
    const late = new Shard(0, reader, 1_000);
    late.hear(mark(5_000, 50, 80, 9_000));
    expect([late.completeToMs, late.waitingEvents]).toEqual([0, undefined]);
  });

  test('tells a writer of before from a log that was replaced', () => {
    const shard = new Shard(0, reader, 80);
    shard.hear(mark(500, 5));
    shard.committed(500, counted(record(80, 5)));
    shard.hear(mark(800, 2, 580));
    shard.committed(800, counted(record(580, 2)));
    expect(shard.hear(mark(500, 5))).toBe(true);
    expect(shard.hear(mark(700, 1, 580))).toBe(true);
    expect(shard.durable).toBe(800);
    expect(shard.hear(mark(300, 1, 200))).toBe(false);
    expect(shard.missing).toBe(0);
  });

  test('agrees whatever is heard and read in whatever pieces, also from new writers', () => {
    const piece = fc.record({ events: fc.integer({ min: 1, max: 5 }), bytes: fc.nat(90) });
    const step = fc.oneof(
      piece.map((one) => ({ ...one, kind: 'write' as const })),
      fc.constantFrom({ kind: 'mark' as const }, { kind: 'load' as const }),
      fc.constant({ kind: 'restart' as const }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const shard = new Shard(0, reader, 80);
        const log: Read[] = [];
        let [end, begin, events, atMs] = [80, 80, 0, 0];
        for (const one of steps) {
          atMs += 1;
          if (one.kind === 'write') {
            log.push(record(end, one.events));
            end += one.bytes + 10;
            events += one.events;
          } else if (one.kind === 'restart') [end, begin, events] = [end + 80, end + 80, 0];
          else if (one.kind === 'mark')
            expect(shard.hear(mark(end, events, begin, atMs))).toBe(true);
          else {
            const { cursor, durable } = shard;
            const read = log.filter(({ offset }) => offset >= cursor && offset < durable);
            shard.committed(durable, counted(...read));
          }
          expect(shard.completeToMs).toBeLessThanOrEqual(atMs);
        }
        expect(shard.missing).toBe(0);
      }),
      { numRuns: 500 },
    );
  });
});
