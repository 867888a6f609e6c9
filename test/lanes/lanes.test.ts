import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { limits } from '../../src/base/index.ts';
import { bytesOf, cases } from '../security/corpus.ts';
import { campaign, type Difference, isSame, missingIn, playAlone, sentOf } from './campaign.ts';
import { keys } from './lane.ts';

/* With the hot lane and without it an edge answers the same and stores the same. */

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);

type Kept = Pick<Difference, 'pieces' | 'turns'> & { readonly why: string };

const manyHeaders = (count: number): Kept => {
  const others = Array.from({ length: count - 1 }, (_, index) => `X-${index}: a\r\n`);
  const head = `POST /lanes/events HTTP/1.1\r\n${others.join('')}Content-Length: 2\r\n\r\n`;
  return { why: `${count} headers`, pieces: [`${head}{}`], turns: 0 };
};

const kept = readFileSync(new URL('kept.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Kept)
  .concat(manyHeaders(limits.headersMax), manyHeaders(limits.headersMax + 1));

describe.each([
  ['in memory', false],
  ['over TCP', true],
])('%s', (_, bySocket) => {
  test(`requests that are bent a little (seed ${seed})`, async () => {
    const requests = bySocket ? 300 : 3_000;
    const summary = await campaign({ seed, requests, bySocket });
    expect(summary.differences).toEqual([]);
    expect(missingIn(summary)).toEqual([]);
  });

  test.each(kept)('$why', async (one) => {
    const { on, off } = await playAlone(sentOf(one), bySocket);
    expect(isSame({ on, off }), JSON.stringify({ on, off })).toBe(true);
  });

  test.each(cases)('$name', async (one) => {
    const whole = bytesOf(one, keys.good);
    // Also behind a request that the hot lane reads, and byte by byte.
    const first = 'POST /lanes/events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}';
    const behind = Buffer.concat([Buffer.from(first), whole]);
    const drips = Array.from(whole, (byte) => Buffer.of(byte));
    for (const pieces of [[whole], [behind], ...(bySocket ? [] : [drips])]) {
      const { on, off } = await playAlone({ pieces, turns: 0 }, bySocket);
      expect(isSame({ on, off }), JSON.stringify({ on, off })).toBe(true);
    }
  });
});
