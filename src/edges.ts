import { limits, type Mark, messageOf } from './base/index.ts';
import type { ChildConfig, Rooms } from './app.ts';
import { edgesSocket } from './config.ts';
import { IdleShards } from './log/index.ts';
import type { ChildLink, EdgeReport } from './supervise/index.ts';
import type { Tools } from './tools.ts';

/** What a store knows of the edges before it. */
export type Edges = {
  readonly count: () => number;
  /** How far each shard is, but for those whose edges do not answer. */
  readonly marks: () => Promise<ReadonlyMap<number, Mark>>;
  /** Whether a mark comes too late: its writer is gone, and what it left is known. */
  readonly isOver: (shard: number, mark: Mark) => boolean;
  /** There are shards that this process did not find when it started: it must start anew. */
  readonly outgrown: Promise<void>;
  readonly forget: () => void;
};

export function ownEdges({ config, askEdges }: ChildLink<ChildConfig>, { orphans }: Rooms): Edges {
  return {
    count: () => config.edges,
    marks: async () => new Map([...orphans, ...marksIn(await askEdges())]),
    isOver: () => false,
    outgrown: new Promise(() => undefined),
    forget: () => undefined,
  };
}

/**
 * The edges of another server, which come and go. Who has a line to this store owns the first
 * shards, one for each edge. What the last writer of any other left is recovered here, and looked
 * at again and again: only its lock tells whether somebody writes it.
 */
export function farEdges(link: ChildLink<ChildConfig>, rooms: Rooms, tools: Tools): Edges {
  const { loader, shards } = rooms;
  const idle = new IdleShards(tools);
  const outgrown = Promise.withResolvers<void>();
  let count = 0;
  let isOutgrown = false;
  link.follow(edgesSocket(link.config.data), (edges) => {
    count = edges;
    isOutgrown ||= Array.from({ length: edges }, (_, shard) => shard).some(
      (shard) => !shards.includes(shard),
    );
    if (!isOutgrown) return;
    tools.logger.info({ edges }, 'there are more edges than before: the store starts anew');
    outgrown.resolve();
  });
  const lookAtIdle = () => {
    const others = shards.filter((shard) => shard >= count);
    return idle.look(others, (shard, mark) => loader.durable(shard, mark));
  };
  const failed = (error: unknown) => {
    tools.logger.error({ error: messageOf(error) }, 'a shard cannot be recovered; tried again');
  };
  const look = () => void lookAtIdle().catch(failed);
  const timer = setInterval(look, limits.probeEveryMs);
  look();
  return {
    count: () => count,
    marks: async () => {
      const reports = marksIn(await link.askEdges());
      const marks = new Map([...(await lookAtIdle()), ...reports]);
      return isOutgrown ? new Map<number, Mark>() : marks;
    },
    isOver: (shard, mark) => idle.isOver(shard, mark),
    outgrown: outgrown.promise,
    forget: () => clearInterval(timer),
  };
}

function marksIn(reports: readonly EdgeReport[]): readonly (readonly [number, Mark])[] {
  return reports.map(({ shard, mark }) => [shard, mark]);
}
