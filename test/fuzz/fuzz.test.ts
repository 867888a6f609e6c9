import { expect, test } from 'vitest';
import { temporaryDirectory, TestServer } from '../support/server.ts';
import { campaign, makeKeys, serverArgs } from './fuzz.ts';

const requests = 2_500;

/** Seeds that found something once; `npm run fuzz` takes new ones. */
const seeds = [1, 151670507];

test.each(seeds)(
  `${requests} requests, bent and torn by seed %i, find nothing`,
  async (seed) => {
    await using directory = await temporaryDirectory();
    const keys = await makeKeys(directory.path);
    await using server = await TestServer.start(directory.path, serverArgs);
    const { findings, answered, durable } = await campaign(server, keys, { seed, requests });

    const because = `npm run fuzz -- --requests ${requests} --seed ${seed}`;
    expect(findings, because).toEqual([]);
    expect(answered['200'], because).toBeGreaterThan(requests / 10);
    expect(answered['400'], because).toBeGreaterThan(requests / 10);
    expect(durable, because).toBeGreaterThan(requests / 10);
  },
  300_000,
);
