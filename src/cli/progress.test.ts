import { describe, expect, test } from 'vitest';
import { Progress } from './progress.ts';

/** A terminal and a clock that the test holds. */
function stage(options: { readonly isTTY?: boolean; readonly json?: boolean } = {}) {
  const { isTTY = true, json = false } = options;
  let nowMs = 0;
  const drawn: string[] = [];
  const printed: string[] = [];
  const write = (text: string) => {
    // As people see it, without colours.
    drawn.push(text.replaceAll('\u001B[2m', '').replaceAll('\u001B[22m', ''));
    return true;
  };
  return {
    drawn,
    printed,
    pass: (ms: number) => (nowMs += ms),
    open: (unit: string, total?: number) =>
      new Progress('exporting shop.orders', {
        unit,
        total,
        json,
        terminal: { isTTY, write },
        clock: { nowMs: () => nowMs },
        print: (line) => printed.push(line),
      }),
  };
}

const clear = '\r\u001B[K';

describe('progress', () => {
  test('shows share, rate and time left, and takes its line away', () => {
    const { open, pass, drawn } = stage();
    const progress = open('rows', 10_000);
    pass(1000);
    progress.step(2500);
    pass(1000);
    progress.step(500);
    progress.end();
    expect(drawn).toEqual([
      `${clear}exporting shop.orders  25 %  2,500 of 10,000 rows  2,500 rows/s  3 s left`,
      `${clear}exporting shop.orders  30 %  3,000 of 10,000 rows  1,500 rows/s  5 s left`,
      clear,
    ]);
  });

  test('draws a few times a second at most, however many steps there are', () => {
    const { open, pass, drawn } = stage();
    const progress = open('rows', 1000);
    for (let step = 0; step < 1000; step += 1) {
      pass(1);
      progress.step();
    }
    expect(drawn.length).toBeGreaterThan(5);
    expect(drawn.length).toBeLessThanOrEqual(10);
  });

  test('what was done before it began is no rate; long times are minutes and hours', () => {
    const { open, pass, drawn } = stage();
    const progress = open('events');
    progress.show({ done: 900, total: 8200, unit: 'events' });
    pass(100_000);
    progress.show({ done: 1000, total: 1125, unit: 'events' });
    pass(100_000);
    progress.show({ done: 1100, total: 8300, unit: 'events' });
    expect(drawn.map((line) => line.split('  ').at(-1))).toEqual([
      '900 of 8,200 events',
      '2:05 min left',
      '2:00 h left',
    ]);
  });

  test('bytes are shown as people read them; without a total there is no share', () => {
    const { open, pass, drawn } = stage();
    const progress = open('bytes');
    pass(1000);
    progress.step(3 * 1024 * 1024);
    expect(drawn).toEqual([`${clear}exporting shop.orders  3.0 MiB  3.0 MiB/s`]);
  });

  test('without a terminal it says nothing', () => {
    const { open, drawn, printed } = stage({ isTTY: false });
    const progress = open('rows', 10);
    progress.step(5);
    progress.end();
    expect([drawn, printed]).toEqual([[], []]);
  });

  test('as JSON it prints lines, also without a terminal', () => {
    const { open, drawn, printed } = stage({ isTTY: false, json: true });
    const progress = open('rows', 10);
    progress.step(5);
    progress.end();
    expect(drawn).toEqual([]);
    expect(printed).toEqual(['{"progress":{"done":5,"total":10,"unit":"rows"}}']);
  });
});
