import { grouped } from '../lines.ts';
import { Interrupted } from '../server.ts';
import type { Finding, Findings } from './lines.ts';
import { edgeOnly, whole } from './millrace.ts';
import type { Contender } from './peers.ts';
import { closedLoopTurn, interleaved, median, ratio, type Run, type Turn } from './run.ts';

/** What one contender reached, for the table and the plot. */
export type Reached = Pick<Contender, 'name' | 'setting' | 'means'> & {
  readonly perSecond: number;
  readonly least: number;
  readonly most: number;
  readonly cpuMicroseconds: number;
  readonly busy: number;
  readonly othersBusy: number;
  readonly generatorBusy: number;
};

/** How many events each contender acknowledges, one a request, on one core. */
export async function acks(
  run: Run,
): Promise<{ readonly findings: Findings; readonly reached: readonly Reached[] }> {
  const { peers, failures } = await thoseThatRun(run);
  const all = [edgeOnly, whole, ...peers];
  const title = ({ name, setting }: Contender) => `${name}, ${setting}`;
  const turns = await interleaved(run.rounds, all, title, (one) => closedLoopTurn(run, one));
  const of = (one: Contender, which: keyof Turn) =>
    (turns.get(one) ?? []).map((turn) => turn[which]);
  const nginx = peers.find(({ name, means }) => name === 'nginx' && means !== 'in memory');
  const fluent = peers.filter(({ name, means }) => {
    return name === 'Fluent Bit' && means === 'with the kernel';
  });
  const against = (
    one: Contender,
    other: Contender | undefined,
    what: string,
    more = '',
  ): Finding => {
    if (!other) return { missing: failures.get(what) ?? `${what} was not found` };
    const [mine, theirs] = [of(one, 'perSecond'), of(other, 'perSecond')];
    const cost = ratio(of(one, 'cpuMicroseconds'), of(other, 'cpuMicroseconds')).toFixed(1);
    const rates = `${grouped(median(mine))} against ${grouped(median(theirs))} acks/s`;
    const detail = `${rates}, each at ${cost} × of a processor${more}`;
    return { value: ratio(mine, theirs), detail };
  };
  const [filesystem] = fluent;
  const settledMs = median(of(whole, 'settledMs'));
  const later = `all rows ${(settledMs / 1_000).toFixed(1)} s after the last of them`;
  return {
    findings: {
      edge: against(edgeOnly, nginx, 'nginx'),
      whole: against(whole, nginx, 'nginx', `; ${later}`),
      fluent: against(whole, filesystem, 'Fluent Bit'),
    },
    reached: all.map((one) => reachedOf(one, turns.get(one) ?? [])),
  };
}

/** A peer that does not start, or takes nothing, does not hold up the others. */
async function thoseThatRun(run: Run) {
  const peers: Contender[] = [];
  const failures = new Map<string, string>();
  for (const peer of run.peers.flatMap(({ contenders }) => contenders)) {
    try {
      await closedLoopTurn({ ...run, seconds: 1 }, peer);
      peers.push(peer);
    } catch (error) {
      if (error instanceof Interrupted) throw error;
      const why = `${peer.name}, ${peer.setting}: ${(error as Error).message}`;
      console.error(why);
      failures.set(peer.name, why);
    }
  }
  return { peers, failures };
}

function reachedOf({ name, setting, means }: Contender, turns: readonly Turn[]): Reached {
  const rates = turns.map(({ perSecond }) => perSecond);
  const of = (which: keyof Turn) => median(turns.map((turn) => turn[which]));
  return {
    name,
    setting,
    means,
    perSecond: of('perSecond'),
    least: Math.min(...rates),
    most: Math.max(...rates),
    cpuMicroseconds: of('cpuMicroseconds'),
    busy: of('busy'),
    othersBusy: of('othersBusy'),
    generatorBusy: of('generatorBusy'),
  };
}

/** What a second core brings. */
export async function cores(run: Run): Promise<Findings> {
  const second = run.servers[1] ?? run.own;
  const sets = [[run.servers[0]], [run.servers[0], second]] as const;
  const turns = await interleaved(
    run.rounds,
    sets,
    (set) => `edges on ${set.length} core(s)`,
    (set) => closedLoopTurn(run, edgeOnly, set),
  );
  const [one = [], two = []] = sets.map((set) => turns.get(set));
  const of = (which: 'perSecond' | 'cpuMicroseconds') => {
    return ratio(
      two.map((turn) => turn[which]),
      one.map((turn) => turn[which]),
    );
  };
  const [measured, cost] = [of('perSecond'), of('cpuMicroseconds')];
  const rates = [two, one].map((turns_) => {
    return grouped(median(turns_.map(({ perSecond }) => perSecond)));
  });
  const both = `${rates.join(' against ')} acks/s`;
  if (run.isThirdCore) return { cores: { value: measured, detail: both } };
  const detail =
    `calculated: an ack costs ${cost.toFixed(2)} × as much of a processor; ` +
    `with the generator on one of the two, ${measured.toFixed(2)} × (${both})`;
  return { cores: { value: 2 / cost, detail } };
}

/** Batches: the same events as lines, a thousand in each request. */
export async function ndjson(run: Run): Promise<Findings> {
  const shape = { connections: 32, eventsPerRequest: 1_000 };
  const turns: Turn[] = [];
  for (let round = 0; round < run.rounds; round += 1) {
    turns.push(await closedLoopTurn(run, edgeOnly, run.servers.slice(0, 1), shape));
  }
  const cost = median(turns.map(({ cpuMicroseconds }) => cpuMicroseconds));
  const busy = median(turns.map((turn) => turn.busy));
  const detail =
    `${shape.connections} connections; ${cost.toFixed(2)} µs of a processor an event, ` +
    `which is ${Math.round(busy * 100)} % busy`;
  return { ndjson: { value: median(turns.map(({ perSecond }) => perSecond)), detail } };
}
