import { expect, test } from 'vitest';
import { limits } from '../base/index.ts';
import { restMs } from './pace.ts';

test.each([
  ['nothing', 0, 0, limits.loadEveryMs],
  ['an event', 1, 1, limits.loadEveryMs],
  ['few tables', 20, 20, limits.loadEveryMs],
  ['many tables with an event each', 500, 500, 250],
  ['many tables with many events each', 500 * limits.tableEventsMin, 500, limits.loadEveryMs],
  ['all tables', limits.tablesMax, limits.tablesMax, limits.loadEveryMsMax],
])('after a transaction of %s', (_, events, tables, ms) => {
  expect(restMs({ events, tables })).toBe(ms);
});
