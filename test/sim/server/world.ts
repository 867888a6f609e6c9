import { runChild } from '../../../src/child.ts';
import type { ChildConfig } from '../../../src/app.ts';
import { type Logger, Metrics } from '../../../src/base/index.ts';
import { fingerprintOf } from '../../../src/event/index.ts';
import { type Role, Supervisor } from '../../../src/supervise/index.ts';
import type { Tools } from '../../../src/tools.ts';
import { configOf } from '../../support/config.ts';
import { type Random, seeded, SimDisk } from '../disk.ts';
import type { Action, Post, Victim } from './actions.ts';
import { exchange, type Manner } from './clients.ts';
import { SimSocket } from './network.ts';
import { Oracle } from './oracle.ts';
import { SimProcess } from './processes.ts';
import { keyOf, Senders } from './senders.ts';
import { Medium, SimStore, type StorePlant } from './store.ts';
import { type Owner, Time } from './time.ts';

// What a process loads when it starts must be there already: no real time passes here.
await Promise.all([import('../../../src/loader/index.ts'), import('../../../src/query/index.ts')]);

/*
 * A machine with a server: its processes, disk and network, its senders and its operator, all in
 * one process, in time of its own. What runs is the real supervisor, edges, log and loader.
 */

const data = '/data';
const edges = 2;
const segmentBytes = 2_000;
const [bootMsMin, bootMsMax] = [5, 60];
const bootAgainMs = 500;
const settleMsMax = 300_000;
const restMs = 12_000;
const linesMax = 200;

/** A mistake on purpose, that must be found. */
export type Plant = StorePlant | 'a disk that lies';

export type Counts = Record<string, number>;

export type Result = {
  readonly violations: readonly string[];
  /** How often something happened. */
  readonly counts: Counts;
  readonly virtualMs: number;
  /** The same for two runs that were the same. */
  readonly trace: string;
  /** What the processes said at last. */
  readonly lines: readonly string[];
};

export type HotLane = 'on' | 'off';

/** By the seed alone, so that no history changes for it. */
function hotLaneBy(seed: number): HotLane {
  return seed % 2 === 0 ? 'on' : 'off';
}

/** One history, from an empty disk until all is settled. */
export async function simulate(
  seed: number,
  actions: readonly Action[],
  plant?: Plant,
  hotLane = hotLaneBy(seed),
): Promise<Result> {
  const world = new World(seed, hotLane, plant);
  const restore = world.time.install();
  try {
    return await world.live(actions);
  } finally {
    restore();
    world.end();
  }
}

/** The supervisor's process, and what it is when it has started. */
type Running = { readonly owner: NonNullable<Owner>; opened?: Supervisor<ChildConfig> };

class World {
  readonly time: Time;
  readonly #config: ChildConfig;
  readonly #random: Random;
  readonly #counts: Counts = {};
  readonly #violations: string[] = [];
  readonly #lines: string[] = [];
  readonly #medium: Medium;
  readonly #oracle: Oracle;
  readonly #processes = new Set<SimProcess>();
  readonly #edges = new Map<NonNullable<Owner>, { connect(connection: SimSocket): void }>();
  readonly #sockets = new Set<SimSocket>();
  readonly #senders: Senders;
  /** What happens after so many operations of the disk. */
  #halt = { left: Infinity, strike: () => {} };
  readonly #rotten = new Set<string>();
  #disk: SimDisk;
  #supervisor: Running | undefined;
  #operator: Owner;
  #isSlow = false;
  #pid = 1;
  #keysToWrite: readonly Post['key'][] = ['good', 'elsewhere'];
  #sending: Promise<unknown>[] = [];

  constructor(seed: number, hotLane: HotLane, plant: Plant | undefined) {
    this.#config = { ...configOf(data, edges), hotLane };
    this.#random = seeded(seed);
    this.time = new Time(this.#random);
    this.#medium = new Medium((what) => this.#violate(what));
    this.#oracle = new Oracle(this.#medium);
    this.#senders = new Senders(this.#oracle);
    const { time } = this;
    const pass = () => {
      this.#halt.left -= 1;
      // While the operation is under way.
      if (this.#halt.left < 0) time.after(0, this.#halt.strike, undefined);
      return time.pass(0.02, this.#isSlow ? 1_500 : 6);
    };
    this.#disk = new SimDisk(this.#random, { owner: () => time.owner, pass });
    if (plant === 'a disk that lies') this.#disk.lies = true;
    else this.#medium.plant = plant;
    time.onBug = (error, owner) => {
      this.#violate(`a bug in ${owner?.name ?? 'the simulation'}: ${(error as Error).stack}`);
    };
  }

  async live(actions: readonly Action[]): Promise<Result> {
    this.#operate();
    await this.time.run(this.time.nowMs + 1_000, () => this.#edges.size === edges);
    for (const action of actions) {
      await this.time.run(this.time.nowMs + action.ms);
      await this.#perform(action);
    }
    await this.#settle();
    this.#violations.push(...this.#oracle.violations());
    const { nowMs, count } = this.time;
    const { commits, rows, quarantine, sums } = this.#medium;
    const answers = this.#oracle.requests.map((request) => request.answers);
    const trace = JSON.stringify([
      nowMs,
      count,
      commits,
      rows.size,
      quarantine.size,
      sums,
      answers,
    ]);
    this.#countAnswers();
    return {
      violations: this.#violations,
      counts: { ...this.#counts, ...this.#struck() },
      virtualMs: nowMs,
      trace,
      lines: this.#lines,
    };
  }

  /** Node keeps the memory of connections that nobody closes. */
  end(): void {
    for (const process of this.#processes) process.end(null, 'SIGKILL');
    for (const socket of this.#sockets) socket.destroy();
  }

  /** No more faults: all arrives, and what is sent now does. */
  async #settle(): Promise<void> {
    const { time } = this;
    const until = time.nowMs + settleMsMax;
    this.#disk.heal();
    this.#halt.left = Infinity;
    this.#isSlow = false;
    this.#medium.heal();
    let isFresh = false;
    const fresh = async () => {
      while (!isFresh) {
        const post: Post = { form: 'single', sizes: [5], key: 'good', value: 'integer' };
        const [answer] = await this.#send([post], 'at once');
        isFresh = answer === 200;
        if (!isFresh) await time.pass(300, 1_500);
      }
    };
    void fresh();
    let isAnswered = false;
    void Promise.all(this.#sending).then(() => (isAnswered = true));
    await time.run(until, () => {
      const isAllDone = isFresh && isAnswered && this.#keysToWrite.length === 0;
      return isAllDone && this.#oracle.isSettled();
    });
    if (!isFresh) this.#violate('no fresh event passes any more');
    if (!isAnswered) this.#violate('a sender waits for ever');
    // What comes twice comes late.
    await time.run(time.nowMs + restMs);
  }

  async #perform(action: Action): Promise<void> {
    const { time } = this;
    switch (action.kind) {
      case 'send':
        this.#sending.push(this.#send(action.posts, action.manner));
        return;
      case 'kill':
        return this.#later(action.events, () => this.#kill(action.victim));
      case 'power':
        return this.#later(action.events, () => this.#cutPower());
      case 'stop':
        this.#count('stop');
        void this.#stop();
        return;
      case 'disk':
        return this.#disk.failNext(action.code, action.skip);
      case 'halt': {
        const strike = () => {
          this.#halt.left = Infinity;
          if (action.how === 'power') this.#cutPower();
          else this.#kill('all');
        };
        this.#halt = { left: action.skip, strike };
        return;
      }
      case 'full':
        this.#count('disk full');
        this.#disk.isFull = true;
        time.after(action.forMs, () => (this.#disk.isFull = false));
        return;
      case 'slow':
        this.#count('slow disk');
        this.#isSlow = true;
        time.after(action.forMs, () => (this.#isSlow = false));
        return;
      case 'rot':
        return this.#rot(action.where);
      case 'store':
        this.#medium.failNext(action.code, action.skip);
        return;
      case 'clock':
        this.#count('clock step');
        time.clockOffMs = Math.max(-600_000, Math.min(600_000, time.clockOffMs + action.stepMs));
        return;
      case 'import':
        this.#keysToWrite = ['good', 'elsewhere', 'later'];
        this.#oracle.isImported = true;
        return;
    }
  }

  /** After so many events, whatever they are. */
  async #later(events: number, strike: () => void): Promise<void> {
    for (let index = 0; index < events; index += 1) await this.time.step();
    strike();
  }

  /** Keeps the server running, and its keys as they are to be. */
  #operate(): void {
    const owner = { name: 'operator', isDead: false };
    this.#operator = owner;
    const work = async () => {
      for (;;) {
        try {
          if (this.#keysToWrite.length > 0) await this.#writeKeys(this.#keysToWrite);
          if (!this.#supervisor) this.#start();
        } catch {
          this.#count('operator tries again');
        }
        await this.time.pass(bootAgainMs, 2 * bootAgainMs);
      }
    };
    this.time.after(0, () => void work(), owner);
  }

  #start(): void {
    const { time } = this;
    const owner = { name: 'supervisor', isDead: false };
    const supervisor: Running = { owner };
    this.#supervisor = supervisor;
    this.#count('server starts');
    const roles: readonly Role[] = [
      ...Array.from({ length: edges }, (_, shard) => ({ kind: 'edge', shard }) as const),
      { kind: 'store' },
    ];
    const open = async () => {
      try {
        await this.#disk.lock(`${data}/LOCK`, () => 'another', 0);
        const logger = this.#logger('supervisor');
        const spawn = (role: Role) => this.#spawn(role).handle;
        supervisor.opened = await Supervisor.open(this.#config, roles, logger, spawn);
      } catch {
        // As the command does: it says why, and ends.
        this.#endSupervisor();
      }
    };
    // Nobody outside waits for it: it may die.
    time.after(0, () => void open(), owner);
  }

  #spawn(role: Role): SimProcess {
    const name = role.kind === 'edge' ? `edge-${role.shard}` : 'store';
    const bootMs = bootMsMin + (bootMsMax - bootMsMin) * this.#random();
    this.#count(`${role.kind} starts`);
    const process = new SimProcess(this.time, this.#random, name, (this.#pid += 1), (ended) => {
      this.#disk.kill(ended.owner);
      this.#processes.delete(ended);
      this.#edges.delete(ended.owner);
      for (const socket of this.#sockets) if (socket.owner === ended.owner) socket.reset();
    });
    this.#processes.add(process);
    process.start(bootMs, (self) => runChild(self, () => this.#tools(process)));
    return process;
  }

  #tools(process: SimProcess): Tools {
    const { time } = this;
    const bytes = (count: number) =>
      Buffer.from(Array.from({ length: count }, () => this.#random() * 256));
    return {
      dataDirectory: data,
      reserveBytes: 0,
      disk: this.#disk,
      clock: { nowMs: () => time.clockMs },
      ids: { bytes },
      logger: this.#logger(process.owner.name),
      metrics: new Metrics(process.owner.name),
      segmentBytes,
      openStore: () => SimStore.open(this.#medium, time, this.#disk),
      standBack: () => undefined,
      onFatal: () => {
        this.#count(`${process.owner.name.slice(0, 5)} ends itself`);
        process.end(null, 'SIGKILL');
      },
      onEdge: (edge) => this.#edges.set(process.owner, edge),
    };
  }

  async #stop(): Promise<void> {
    const stopped = this.#supervisor;
    if (!stopped?.opened || stopped.owner.isDead) return;
    await this.time.as(stopped.owner, () => stopped.opened?.close());
    if (this.#supervisor === stopped) this.#endSupervisor();
  }

  #endSupervisor(): void {
    const ended = this.#supervisor;
    if (!ended || ended.owner.isDead) return;
    ended.owner.isDead = true;
    this.#disk.kill(ended.owner);
    for (const process of this.#processes) process.orphan();
    this.#supervisor = undefined;
  }

  #kill(victim: Victim): void {
    this.#count(`kill ${victim}`);
    for (const process of this.#processes) {
      const isEdge = process.owner.name.startsWith('edge');
      const isMeant =
        victim === 'edge' ? isEdge : victim === 'store' ? !isEdge : victim !== 'supervisor';
      if (!isMeant) continue;
      process.end(null, 'SIGKILL');
      if (victim === 'edge') break;
    }
    if (victim === 'supervisor' || victim === 'all') this.#endSupervisor();
  }

  #cutPower(): void {
    this.#count('power cut');
    for (const process of this.#processes) process.end(null, 'SIGKILL');
    this.#endSupervisor();
    if (this.#operator) this.#operator.isDead = true;
    const { isFull, lies } = this.#disk;
    this.#disk = this.#disk.crash('power');
    Object.assign(this.#disk, { isFull, lies });
    this.#operate();
  }

  /** Flips a byte of the log at rest: one of a segment, whose header is there twice. */
  #rot(where: number): void {
    const segments = this.#disk.paths().filter((name) => name.endsWith('.seg'));
    const name = segments[Math.floor(where * segments.length)];
    if (name === undefined) return;
    const bytes = Buffer.from(this.#disk.peek(name));
    const at = Math.floor(((where * 1_000) % 1) * bytes.length);
    if (bytes[at] === undefined || this.#rotten.has(name)) return;
    this.#rotten.add(name);
    this.#count('rot');
    this.#oracle.rots += 1;
    bytes[at] ^= 0x41;
    this.#disk.poke(name, bytes);
  }

  /** As the command does it: a new file, synced, takes the old one's name. */
  async #writeKeys(names: readonly Post['key'][]): Promise<void> {
    const entries = names.map((name) => ({
      id: name,
      name,
      fingerprint: fingerprintOf(keyOf(name)).toString('hex'),
      database: name === 'elsewhere' ? 'elsewhere' : 'sim',
      createdAt: new Date(this.time.clockMs).toISOString(),
    }));
    const disk = this.#disk;
    const temporary = `${data}/keys.json.${(this.#pid += 1)}.tmp`;
    const file = await disk.create(temporary);
    await file.write(Buffer.from(JSON.stringify({ keys: entries })), 0);
    await disk.rename(temporary, `${data}/keys.json`);
    await disk.syncDirectory(data);
    if (this.#disk === disk && names === this.#keysToWrite) this.#keysToWrite = [];
  }

  /** Sends some requests on one connection to one of the edges, if one is there. */
  async #send(posts: readonly Post[], manner: Manner): Promise<readonly (number | undefined)[]> {
    const all = posts.map((post) => this.#senders.request(post));
    const candidates = [...this.#edges.entries()];
    const [owner, edge] = candidates[Math.floor(this.#random() * candidates.length)] ?? [];
    const places = all.map(({ request }) => request.answers.push(undefined) - 1);
    this.#count(manner);
    if (!owner || !edge) {
      // Nobody takes the connection: nothing was sent.
      for (const { request } of all) request.answers.pop();
      return [undefined];
    }
    const [client, server] = SimSocket.pair(this.time, this.#random, owner);
    this.#sockets.add(server);
    this.time.after(0, () => edge.connect(server), owner);
    const answers = await exchange(
      this.time,
      client,
      all.map(({ bytes }) => bytes),
      manner,
    );
    for (const [index, { request }] of all.entries()) {
      request.answers[places[index] ?? 0] = answers[index];
    }
    return answers;
  }

  #logger(name: string): Logger {
    const say = (level: string) => (given: unknown, message?: string) => {
      const text = typeof given === 'string' ? given : `${message} ${JSON.stringify(given)}`;
      if (this.#lines.length >= linesMax) this.#lines.shift();
      this.#lines.push(`${Math.round(this.time.nowMs)} ${name} ${level} ${text}`);
      // What was damaged on the disk is missing, and it is said.
      const isAlarm = this.#oracle.rots === 0 && text.includes('the books are wrong');
      if (isAlarm || text.includes('a bug: events')) this.#violate(text);
    };
    const logger = {
      debug: () => undefined,
      info: say('info'),
      warn: say('warn'),
      error: say('error'),
      child: () => logger,
    };
    return logger as unknown as Logger;
  }

  #violate(what: string): void {
    if (this.#violations.length < linesMax) this.#violations.push(what);
  }

  #count(what: string): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + 1;
  }

  #countAnswers(): void {
    for (const { events, answers } of this.#oracle.requests) {
      for (const answer of answers) {
        this.#count(
          answer === 200 ? 'acknowledged' : answer === undefined ? 'unanswered' : 'refused',
        );
        if (answer === 200) this.#counts.events = (this.#counts.events ?? 0) + events.length;
      }
    }
    this.#counts.rows = this.#medium.rows.size;
    this.#counts.quarantined = this.#medium.quarantine.size;
  }

  #struck(): Counts {
    return { ...this.#disk.struck, 'store faults': this.#medium.struck };
  }
}
