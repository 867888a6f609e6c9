import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createKey, TestServer } from '../../test/support/server.ts';
import { serverProcesses } from '../processes.ts';
import { allLoaded } from '../under-load.ts';
import type { Contender, Running } from './peers.ts';
import { pinned } from './programs.ts';

/** What runs: edges that only keep events, or the whole server. */
export type Role = 'edge' | 'all';

export type Started = Omit<Running, 'stored'> & {
  readonly server: TestServer;
  readonly edgePids: readonly number[];
  /** Waits until all is loaded. */
  readonly loaded: () => Promise<TestServer>;
  readonly stored: (tables?: readonly string[]) => Promise<number>;
  /** Starts the store that an edge alone does without. @returns its process */
  readonly startStore: () => Promise<number>;
};

export const edgeOnly: Contender = {
  name: 'Millrace',
  setting: 'edge only',
  means: 'on disk',
  start: (data, cores) => startMillrace(data, cores, 'edge'),
};

export const whole: Contender = {
  name: 'Millrace',
  setting: 'edge, loader and store',
  means: 'on disk',
  start: (data, cores) => startMillrace(data, cores, 'all'),
};

/** @param cores of the whole server; it has an edge for each. */
export async function startMillrace(
  data: string,
  cores: readonly number[],
  role: Role,
): Promise<Started> {
  const args = ['--log-level', 'error', '--edges', String(cores.length)];
  const serve = (as: 'all' | 'edge' | 'store') => {
    return TestServer.start(data, [...args, '--role', as], pinned(cores));
  };
  const server = await serve(role);
  const key = await createKey(data, 'bench');
  const { hostname: host, port } = new URL(server.ingest);
  const edgePids = (await pidsOf(server)).slice(1, 1 + cores.length);
  let store = role === 'all' ? server : undefined;
  const startStore = async () => {
    store ??= await serve('store');
    return { store, pid: (await pidsOf(store)).at(-1) ?? 0 };
  };
  const loaded = async () => {
    const { store: loading } = await startStore();
    await allLoaded(loading);
    return loading;
  };
  return {
    door: { host, port: Number(port), key },
    pid: server.process.pid ?? 0,
    server,
    edgePids,
    startStore: async () => (await startStore()).pid,
    loaded,
    stored: async (tables = ['events']) => {
      const loading = await loaded();
      const counts = tables.map((name) => `SELECT count(*)::INTEGER AS n FROM bench.${name}`);
      const found = await loading.query<{ n: number }>(counts.join(' UNION ALL '));
      return found.reduce((sum, { n }) => sum + n, 0);
    },
    stop: async () => {
      await server.stop();
      await store?.stop();
    },
  };
}

async function pidsOf(server: TestServer): Promise<readonly number[]> {
  return (await serverProcesses(server.process.pid ?? 0)).map(({ pid }) => pid);
}

export async function millraceVersion(): Promise<string> {
  const path = join(import.meta.dirname, '../../package.json');
  return (JSON.parse(await readFile(path, 'utf8')) as { version: string }).version;
}
