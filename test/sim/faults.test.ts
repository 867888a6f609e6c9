import { describe, expect, test } from 'vitest';
import { isWhole } from '../support/steps.ts';
import type { Action, Post } from './server/actions.ts';
import type { StoreFault } from './server/store.ts';
import { simulate } from './server/world.ts';

/*
 * One history of the whole server, with a fault at the first, second, third … operation of its
 * disk, or at such a call of its store, until a run has none: in the log, in loading, in the keys,
 * in the quarantine, at a start and at a stop. Here some of them are met, with
 * `npm run test:steps` all of them.
 */

const seed = 7;
const stride = isWhole ? 1 : 13;
const operationsMin = 20;
const timeoutMs = isWhole ? 3_600_000 : 120_000;

function send(ms: number, ...posts: readonly Post[]): Action {
  return { ms, kind: 'send', posts, manner: 'at once' };
}

const single: Post = { form: 'single', sizes: [40], key: 'good', value: 'integer' };
const lines: Post = { form: 'lines', sizes: [900, 20, 700], key: 'good', value: 'text', id: 1 };
const parked: Post = { form: 'array', sizes: [300, 10], key: 'later', value: 'object' };
const history: readonly Action[] = [
  send(0, single, lines),
  send(400, parked, { ...single, hasPoison: true }, { ...single, key: 'unknown' }),
  send(100, lines),
  { ms: 300, kind: 'import' },
  send(1_500, { ...single, sizes: [1_500] }, single),
  { ms: 50, kind: 'stop' },
  send(2_500, lines, single),
];

function storeFault(code: StoreFault, skip: number): Action {
  return { ms: 0, kind: 'store', code, skip };
}

const faults = {
  EIO: (skip) => ({ ms: 0, kind: 'disk', code: 'EIO', skip }),
  ENOSPC: (skip) => ({ ms: 0, kind: 'disk', code: 'ENOSPC', skip }),
  'a kill of all processes': (skip) => ({ ms: 0, kind: 'halt', how: 'kill', skip }),
  'a power cut': (skip) => ({ ms: 0, kind: 'halt', how: 'power', skip }),
  'a call of the store that fails': (skip) => storeFault('STORE_FAILED', skip),
  'a call of the store after which nobody knows': (skip) => storeFault('STORE_INVALID', skip),
} satisfies Record<string, (skip: number) => Action>;

/** How a run tells that it met its fault. */
const signs = {
  EIO: 'EIO',
  ENOSPC: 'ENOSPC',
  'a kill of all processes': 'kill all',
  'a power cut': 'power cut',
  'a call of the store that fails': 'store faults',
  'a call of the store after which nobody knows': 'store faults',
} satisfies Record<keyof typeof faults, string>;

describe('a history with one fault', () => {
  for (const [name, fault] of Object.entries(faults) as [keyof typeof faults, Fault][]) {
    const title = `${name} at the first, second, third … operation, until a run has none`;
    test(
      title,
      async () => {
        let skip = isWhole ? 0 : Math.floor(Math.random() * stride);
        for (let isMet = true; isMet; skip += stride) {
          const { violations, counts } = await simulate(seed, [fault(skip), ...history]);
          expect(violations, `at operation ${skip}`).toEqual([]);
          expect(counts.acknowledged).toBeGreaterThan(0);
          isMet = (counts[signs[name]] ?? 0) > 0;
        }
        expect(skip).toBeGreaterThan(operationsMin);
      },
      timeoutMs,
    );
  }
});

type Fault = (skip: number) => Action;
