import { rmSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fault, limits, messageOf, nodeDisk, reserveBytes, systemClock } from '../base/index.ts';
import { patient, type Task } from '../base/index.ts';
import { fsck } from '../fsck/index.ts';
import { Chores } from './chores.ts';
import { lanes, tables, unknownTable } from './events.ts';
import { fates, Ledger } from './ledger.ts';
import { audit, lines, missingBefore, strangeTables } from './look.ts';
import { diskFacts, machineFacts } from './machine.ts';
import { percentilesOf } from './percentiles.ts';
import { Random } from './random.ts';
import { brokenIn, type CrashReport, type End, kindsOfKills, missingIn } from './report.ts';
import { type Target, targets } from './report.ts';
import { postOne } from './requests.ts';
import { Senders } from './senders.ts';
import { Server, until } from './server.ts';
import { syncTimes } from './storage.ts';

export type CrashOptions = {
  /** The folder of the test is made beside it. */
  readonly data: string;
  readonly seed: number;
  /** Ends after so many rounds, or so long. */
  readonly roundsMax: number;
  readonly forMs: number;
  readonly task: Task;
};

const senderCount = 24;
/** Events that a round must have acknowledged. */
const roundEventsMin = 500;
const roundTimeoutMs = 120_000;
const adoptedTimeoutMs = 120_000;
const syncForMs = 1_000;
/** Room for the data of the test, beside the reserve of the server. */
const roomBytesMin = 1024 ** 3;
const errorsMax = 10;
const startsMax = 3;
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Kills a real server again and again while events come, and counts what became of them. */
export async function crashTest(options: CrashOptions): Promise<CrashReport> {
  const folder = await ownFolder(options);
  const test = new CrashTest(options, folder);
  const leave = () => {
    test.abandon();
    // At once, so that no round goes on in between; what was killed may still be on its way out.
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    process.exit(130);
  };
  for (const signal of signals) process.once(signal, leave);
  try {
    const report = await test.run();
    if (report.keptIn === undefined) await rm(folder, { recursive: true });
    return report;
  } finally {
    test.abandon();
    for (const signal of signals) process.off(signal, leave);
  }
}

/** @throws SELFTEST_PLACE */
async function ownFolder({ data, seed }: CrashOptions): Promise<string> {
  const folder = join(dirname(resolve(data)), `millrace-selftest-${seed}`);
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    throw fault('SELFTEST_PLACE', { seen: messageOf(error) }, error);
  }
  const { freeBytes, diskBytes } = await nodeDisk.room(folder);
  if (freeBytes > reserveBytes(diskBytes) + roomBytesMin) return folder;
  await rm(folder, { recursive: true });
  throw fault('SELFTEST_PLACE', { seen: `${folder} has ${freeBytes} bytes free, not enough` });
}

class CrashTest {
  readonly #options: CrashOptions;
  readonly #folder: string;
  readonly #random: Random;
  readonly #ledger = new Ledger();
  readonly #startedAtMs = systemClock.nowMs();
  readonly #kills = kindsOfKills();
  readonly #startMs: number[] = [];
  readonly #errors = new Set<string>();
  #server: Server | undefined;
  #compactions = 0;
  /** Of processes whose supervisor lived on. */
  #ends = 0;
  #rounds = 0;
  /** What a round found: the last one, then. */
  readonly #broken: string[] = [];

  constructor(options: CrashOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
    this.#random = new Random(options.seed);
  }

  /** Kills what is left of the server. */
  abandon(): void {
    this.#server?.killAll();
  }

  async run(): Promise<CrashReport> {
    const disk = await diskFacts(this.#folder);
    const syncMs = await syncTimes(this.#folder, syncForMs);
    const data = join(this.#folder, 'data');
    await nodeDisk.makeDirectory(data);
    const chores = await Chores.open(data, new Random(this.#options.seed + 1));
    const senders = new Senders(this.#options.seed + 2, senderCount, this.#ledger, chores.keys);
    const reasons = this.#broken;
    let end: End | undefined;
    try {
      end = await this.#all(chores, senders);
      reasons.push(...brokenIn(end));
      const unasked = this.#ends - this.#kills.edge.kills - this.#kills.store.kills;
      if (unasked > 0) reasons.push(`${unasked} processes ended that nobody had killed`);
    } catch (error) {
      reasons.push(messageOf(error));
    }
    this.abandon();
    reasons.push(...senders.strange.slice(0, errorsMax));
    const deeds = { kills: this.#kills, requests: senders.counts, ...chores.counts };
    const vacuous = reasons.length > 0 ? [] : missingIn(deeds);
    const verdict = reasons.length > 0 ? 'FAIL' : vacuous.length > 0 ? 'VACUOUS' : 'PASS';
    const { seed } = this.#options;
    return {
      verdict,
      reasons: [...new Set([...reasons, ...vacuous])],
      seed,
      rounds: this.#rounds,
      startedAt: new Date(this.#startedAtMs).toISOString(),
      endedAt: new Date(systemClock.nowMs()).toISOString(),
      machine: machineFacts(),
      disk,
      syncMs,
      ...deeds,
      startMs: percentilesOf(this.#startMs),
      acknowledged: this.#ledger.count(fates.acknowledged),
      unanswered: this.#ledger.count(fates.open),
      refused: this.#ledger.count(fates.refused),
      findings: end?.findings,
      compactions: this.#compactions,
      isFreshTaken: end?.isFreshTaken ?? false,
      ledgerRemainder: end?.ledgerRemainder,
      isWhole: end?.damage.length === 0,
      serverErrors: [...this.#errors],
      keptIn: verdict === 'FAIL' ? this.#folder : undefined,
    };
  }

  async #all(chores: Chores, senders: Senders): Promise<End> {
    await this.#begin(chores);
    const { roundsMax, forMs, task } = this.#options;
    const total = Number.isFinite(roundsMax) ? roundsMax : undefined;
    let plan: Target[] = [];
    const endsAt = performance.now() + forMs;
    const goesOn = () => this.#broken.length === 0 && performance.now() < endsAt;
    while (this.#rounds < roundsMax && goesOn()) {
      if (plan.length === 0) plan = this.#shuffled(targets);
      await this.#round(plan.pop() ?? 'all', chores, senders);
      this.#rounds += 1;
      task.progress({ done: this.#rounds, total, unit: 'rounds' });
    }
    return this.#end(chores, senders);
  }

  /** The first event of each table says of which type its columns are. */
  async #begin(chores: Chores): Promise<void> {
    const server = await this.#start();
    for (const lane of lanes.slice(0, tables.length)) {
      const status = await postOne(server.ingest, this.#ledger, lane, chores.keys);
      if (status !== 200) throw fault('SELFTEST_FAILED', { seen: `the first event: ${status}` });
    }
    await server.ask('POST', '/flush');
  }

  async #round(target: Target, chores: Chores, senders: Senders): Promise<void> {
    const from = senders.firstOpen;
    await chores.renew();
    const server = this.#server ?? (await this.#start());
    const stop = new AbortController();
    const doing = chores.run(server, stop.signal);
    // It is awaited below, whatever happens before.
    doing.catch(() => undefined);
    senders.go(server.ingest);
    try {
      await this.#traffic(senders, roundEventsMin / 2);
      const times = target === 'edge' || target === 'store' ? this.#random.integer(1, 2) : 1;
      for (let time = 0; time < times; time += 1) {
        const before = senders.counts.unanswered;
        await this.#strike(target, server, senders);
        if (server.hasEnded) await senders.pause();
        else await this.#traffic(senders, roundEventsMin / 2 / times);
        if (senders.counts.unanswered > before) this.#kills[target].cut += 1;
      }
    } finally {
      stop.abort();
      await Promise.all([senders.pause(), doing]);
    }
    if (server.hasEnded) {
      await server.gone();
      if (target === 'start') await this.#killAStart();
      this.#server = undefined;
    }
    const next = this.#server ?? (await this.#start());
    await this.#flushed(next);
    const { examples } = await audit(next, this.#ledger, from, false);
    this.#broken.push(...examples, ...(await missingBefore(next, this.#ledger, from)));
  }

  /** Some events, and a moment that is never the same. */
  async #traffic(senders: Senders, events: number): Promise<void> {
    const enough = senders.acknowledged + events;
    await until('events are taken', roundTimeoutMs, () => senders.acknowledged >= enough);
    await sleep(this.#random.integer(0, 400));
  }

  async #strike(target: Target, server: Server, senders: Senders): Promise<void> {
    if (server.hasEnded) throw fault('SELFTEST_FAILED', { seen: 'the server ended by itself' });
    const count = this.#kills[target];
    count.kills += 1;
    if (senders.inFlight > 0) count.inFlight += 1;
    if (target === 'edge') await server.killChild(this.#oneOf(server.edges));
    else if (target === 'store') await server.killChild('store');
    else if (target === 'supervisor') {
      await server.killSupervisor();
      // Half of the time what it left behind may drain to its end.
      await sleep(this.#random.integer(0, 300));
      if (this.#random.chance(50)) server.killAll();
    } else {
      if (target === 'drain') {
        server.drain();
        await sleep(this.#random.integer(0, 300));
      }
      await server.killAllAndWait();
    }
  }

  /** Recovery is interrupted, too. */
  async #killAStart(): Promise<void> {
    const server = this.#spawn();
    await sleep(this.#random.integer(100, 900));
    await server.killAllAndWait();
    await server.gone();
  }

  /** When the kills are over: everything must be where it belongs. */
  async #end(chores: Chores, senders: Senders): Promise<End> {
    const server = this.#server ?? (await this.#start());
    await chores.settle();
    await senders.finish(server.ingest, roundTimeoutMs);
    const fresh: number[] = [];
    for (const lane of lanes.slice(0, tables.length)) {
      fresh.push(await postOne(server.ingest, this.#ledger, lane, chores.keys));
    }
    await this.#flushed(server);
    await until('events whose keys are known by now are adopted', adoptedTimeoutMs, async () => {
      return (await one(server, waiting)) === 0;
    });
    const findings = await audit(server, this.#ledger, 0, true);
    const strange = await strangeTables(server);
    const remainder = 'SELECT coalesce(sum(abs(remainder)), 0)::BIGINT AS n FROM millrace.ledger';
    const ledgerRemainder = await one(server, remainder);
    const exitCode = await server.stop();
    this.#server = undefined;
    const isFreshTaken = fresh.every((status) => status === 200);
    const damage = await damageIn(join(this.#folder, 'data'));
    return { findings, strange, ledgerRemainder, exitCode, damage, isFreshTaken };
  }

  async #flushed(server: Server): Promise<void> {
    await until('all that was acknowledged is queryable', 2 * limits.flushTimeoutMs, () => {
      if (server.hasEnded) throw fault('SELFTEST_FAILED', { seen: 'the server has ended' });
      // Its store may be on its way up.
      return server.ask('POST', '/flush').then(
        () => true,
        () => false,
      );
    });
  }

  async #start(): Promise<Server> {
    for (let attempt = 1; ; attempt += 1) {
      const startedAt = performance.now();
      const server = this.#spawn();
      try {
        await server.ready();
        this.#startMs.push(performance.now() - startedAt);
        return server;
      } catch (error) {
        // A port that was free a moment ago may be somebody else's by now.
        if (attempt === startsMax || !server.words.includes('EADDRINUSE')) throw error;
      }
    }
  }

  /** Edges come and go, so that their shards are also loaded without them; so does the hot lane. */
  #spawn(): Server {
    const edges = String(this.#random.integer(1, 3));
    const lane = this.#random.pick(['on', 'off']);
    const where = ['--data', join(this.#folder, 'data'), '--port', '0', '--admin-port', '0'];
    const upkeep = ['--archive-minutes', '1', '--compaction-share', '100'];
    const kept = ['--quarantine-bytes', String(Number.MAX_SAFE_INTEGER)];
    const edge = ['--edges', edges, '--hot-lane', lane];
    const args = [...where, ...upkeep, ...kept, ...edge, '--log-level', 'debug'];
    this.#server = Server.spawn(args, join(this.#folder, 'server.log'), (line) => {
      if (line.msg === 'upkeep' && String(line.what).startsWith('compact')) this.#compactions += 1;
      if (line.signal !== undefined && line.child !== undefined) this.#ends += 1;
      if (line.level !== 'error' || this.#errors.size >= errorsMax) return;
      this.#errors.add([line.msg, line.error].filter(Boolean).join(': '));
    });
    return this.#server;
  }

  #oneOf(names: readonly string[]): string {
    return names[this.#random.integer(0, names.length - 1)] ?? '';
  }

  #shuffled(items: readonly Target[]): Target[] {
    const left = [...items];
    return items.map(() => left.splice(this.#random.integer(0, left.length - 1), 1)[0] ?? 'all');
  }
}

/** Events whose key was made known later; those of keys that never are have a table of theirs. */
const waiting = `SELECT count(*) AS n FROM millrace.quarantine
  WHERE reason IN ('unknown_key', 'key_revoked') AND "table" <> '${unknownTable}'`;

async function damageIn(data: string): Promise<readonly string[]> {
  const { findings } = await fsck(data, undefined, patient);
  const damage = findings.filter(({ level }) => level === 'damage');
  return damage.map(({ where, seen }) => `fsck: ${where}: ${seen}`);
}

async function one(server: Server, sql: string): Promise<number> {
  for await (const { n } of lines(server, sql)) return Number(n);
  return NaN;
}
