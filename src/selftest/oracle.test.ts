import { describe, expect, test } from 'vitest';
import { eventOf, type Lane, lanes, type Row } from './events.ts';
import { fates, Ledger } from './ledger.ts';
import { Audit, breachesIn, type Findings, type Found } from './oracle.ts';

/** What a server that keeps its promise has stored of a ledger, by the number of the event. */
type World = { readonly ledger: Ledger; readonly stored: Map<number, Found> };

const [good, , , later, repeated, unknown] = lanes as Lane[] & Record<0 | 3 | 4 | 5, Lane>;
const perLane = 20;

function keptPromise(): World {
  const ledger = new Ledger();
  const stored = new Map<number, Found>();
  for (const lane of lanes) {
    const first = ledger.take(lane, perLane);
    ledger.note(first, perLane, fates.acknowledged);
    for (let number = first; number < first + perLane; number += 1) {
      stored.set(number, foundOf(number, lane));
    }
  }
  // Some got no answer, half of which are stored; others were refused.
  const open = ledger.take(good, 4);
  for (const number of [open, open + 1]) stored.set(number, foundOf(number, good));
  ledger.note(ledger.take(good, 3), 3, fates.refused);
  return { ledger, stored };
}

function foundOf(number: number, lane: Lane): Found {
  const { body, row } = eventOf(number, lane);
  const { table } = lane;
  // A row has the columns of other events, too.
  if (['good', 'later'].includes(lane.key))
    return { kind: 'row', table, row: { ...row, x7: null } };
  return { kind: 'parked', table, body };
}

function judge({ ledger, stored }: World, also: readonly Found[] = [], isFinal = true): Findings {
  const audit = new Audit(ledger, 0, isFinal);
  for (const found of [...stored.values(), ...also]) audit.see(found);
  return audit.close();
}

/** The first event of a lane, and of those that were refused. */
const firstOf = (lane: Lane) => perLane * lanes.indexOf(lane);
const firstRefused = perLane * lanes.length + 4;

function changeRow(world: World, number: number, change: Row): void {
  const found = world.stored.get(number);
  if (found?.kind !== 'row') throw new Error('no row');
  world.stored.set(number, { ...found, row: { ...found.row, ...change } });
}

describe('the oracle', () => {
  test('finds nothing where the promise is kept', () => {
    const findings = judge(keptPromise());
    expect(breachesIn(findings), findings.examples.join('\n')).toBe(0);
    expect(findings).toMatchObject({ rows: 5 * perLane + 2, parked: 2 * perLane, openStored: 2 });
    expect(findings.rescued).toBeGreaterThan(0);
  });

  test.each<readonly [string, Partial<Findings>, (world: World) => readonly Found[] | void]>([
    ['an event that is nowhere', { lost: 1 }, ({ stored }) => void stored.delete(firstOf(good))],
    [
      'a parked one that is nowhere',
      { lost: 1 },
      ({ stored }) => void stored.delete(firstOf(unknown)),
    ],
    ['a row twice', { twice: 1 }, () => [foundOf(firstOf(good), good)]],
    ['a row of an open one twice', { twice: 1 }, () => [foundOf(firstRefused - 4, good)]],
    ['a row three times', { twice: 1 }, () => [1, 2].map(() => foundOf(firstOf(good), good))],
    [
      'a row that stayed in quarantine',
      { twice: 1, misplaced: 1 },
      () => {
        const { body } = eventOf(firstOf(later), later);
        return [{ kind: 'parked', table: later.table, body }];
      },
    ],
    ['a refused event', { ghosts: 1 }, () => [foundOf(firstRefused, good)]],
    [
      'an event with a number that nobody sent',
      { ghosts: 1 },
      () => [foundOf(firstRefused + 3, good)],
    ],
    [
      'a row without a number',
      { ghosts: 1 },
      () => [{ kind: 'row', table: 'clicks', row: { n: null } }],
    ],
    ['bytes of nobody', { ghosts: 1 }, () => [{ kind: 'parked', table: 'clicks', body: '{"n":' }]],
    ['a changed text', { changed: 1 }, (it) => changeRow(it, 3, { pad: 'other' })],
    [
      'a number changed by a little',
      { changed: 1 },
      (it) => changeRow(it, 3, { value: 1.7500001 }),
    ],
    [
      'a value that was not rescued',
      { changed: 1 },
      (it) => changeRow(it, 5, { _rescued_data: null }),
    ],
    ['a column of another event', { changed: 1 }, (it) => changeRow(it, 3, { x7: 3 })],
    [
      'one byte changed in quarantine',
      { changed: 1 },
      ({ stored }) => {
        const { body } = eventOf(firstOf(unknown), unknown);
        const changed = `${body.slice(0, -2)} ${body.slice(-1)}`;
        stored.set(firstOf(unknown), { kind: 'parked', table: unknown.table, body: changed });
      },
    ],
    [
      'a row in another table',
      { misplaced: 1 },
      ({ stored }) => {
        stored.set(0, { ...foundOf(0, good), table: 'orders' });
      },
    ],
    [
      'a row whose key may not write',
      { misplaced: 1 },
      ({ stored }) => {
        const { row } = eventOf(firstOf(unknown), unknown);
        stored.set(firstOf(unknown), { kind: 'row', table: unknown.table, row });
      },
    ],
  ])('finds %s', (_what, expected, plant) => {
    const planted = keptPromise();
    const also = plant(planted) ?? [];
    const none = { lost: 0, twice: 0, changed: 0, misplaced: 0, ghosts: 0 };
    const findings = judge(planted, also);
    expect(findings).toMatchObject({ ...none, ...expected });
    expect(findings.examples.length).toBe(breachesIn(findings));
  });

  test('lets an event wait in quarantine while its key is not known yet', () => {
    const waiting = keptPromise();
    const number = firstOf(later);
    const { body } = eventOf(number, later);
    waiting.stored.set(number, { kind: 'parked', table: later.table, body });
    expect(breachesIn(judge(waiting, [], false))).toBe(0);
    expect(judge(waiting, [], true).misplaced).toBe(1);
  });

  test('lets each copy of a repeated event wait while its key is not known; then it is one', () => {
    const waiting = keptPromise();
    const { body } = eventOf(firstOf(repeated), repeated);
    const copy: Found = { kind: 'parked', table: repeated.table, body };
    expect(breachesIn(judge(waiting, [copy, copy], false))).toBe(0);
    expect(judge(waiting, [copy, copy], true).misplaced).toBe(2);
    waiting.stored.delete(firstOf(repeated));
    expect(breachesIn(judge(waiting, [copy, copy], false))).toBe(0);
    expect(judge(waiting, [], false).lost).toBe(1);
    expect(judge(keptPromise(), [foundOf(firstOf(repeated), repeated)], false).twice).toBe(1);
  });
});
