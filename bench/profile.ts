import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { table } from '../src/cli/render.ts';
import { type Door, findGenerator } from './compare/generator.ts';
import { tableNames } from './compare/growth.ts';
import { startMillrace } from './compare/millrace.ts';
import { mdTable, writePage } from './compare/report.ts';
import { oneEach } from './compare/run.ts';
import { LoadThread } from './load-thread.ts';
import { cores, pin } from './machine.ts';
import { threadsMsOf } from './processes.ts';
import { flameGraph } from './profile/flame.ts';
import {
  callTree,
  type CpuProfile,
  type Spent,
  spentByPlace,
  type Window,
} from './profile/tree.ts';
import { freshDirectory, progress, runScript, whileUsed } from './server.ts';

/*
 * Where the time of a request goes, at the edge, and that of an event in the store: first an edge
 * alone takes what it can, then the store loads what was taken.
 */

const help = `Usage: npm run bench:profile -- [options]

Runs a server under Node's profiler: an edge alone that takes a closed loop of events, then the
store as it loads them. Prints where the time goes.

  --seconds N   length of the load (default: 10)
  --top N       places to show (default: 15)
  --tables N    send to so many tables in turn (default: 1)
  --svg DIR     write flame graphs into this folder
  --write DIR   write the tables into DIR/performance.md, and flame graphs beside it
  --json        print JSON

Examples:
  npm run bench:profile
  npm run bench:profile -- --seconds 20 --write docs
  npm run bench:profile -- --tables 1000 --svg /tmp`;

const warmUpSeconds = 3;

/** What one process did in its window; times in µs an event. */
type Profiled = {
  readonly name: 'edge' | 'store';
  readonly events: number;
  /** Of the thread that runs JavaScript, waiting left out. */
  readonly spent: readonly Spent[];
  /** Of its processor time, that thread's and that of all others together. */
  readonly mainMicros: number;
  readonly otherMicros: number;
  readonly flame: string;
};

type Seen = Window & {
  readonly pid: number;
  readonly events: number;
  readonly mainMs: number;
  readonly othersMs: number;
};

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const numbers = { seconds: text, top: text, tables: text };
  const { values } = parseArgs({
    options: { ...numbers, svg: text, write: text, json: flag, help: flag },
  });
  if (values.help) return console.log(help);
  const seconds = Number(values.seconds ?? 10);
  const top = Number(values.top ?? 15);
  const tables = Number(values.tables ?? 1);
  if (!(seconds > 0 && top > 0 && tables > 0)) throw new Error('a number must be above 0');
  if (tables > 1 && values.write !== undefined) throw new Error('the page is of one table: --svg');
  const folder = await freshDirectory('millrace-profile-', undefined);
  try {
    const found = await profile(folder, seconds, tables);
    if (values.json)
      console.log(JSON.stringify(found.map((one) => ({ ...one, flame: undefined }))));
    else
      for (const one of found) console.log(`\n${titleOf(one)}\n\n${table(head, rows(one, top))}`);
    for (const { name, flame } of values.svg === undefined ? [] : found) {
      await writeFile(join(values.svg ?? '', `${name}.svg`), flame);
    }
    if (values.write !== undefined) {
      const parts = found.map((one) => {
        const picture = `![Flame graph of the ${one.name}](performance/${one.name}.svg)`;
        return `${titleOf(one)}\n\n${mdTable(head, rows(one, top))}\n\n${picture}`;
      });
      const pictures = Object.fromEntries(found.map(({ name, flame }) => [`${name}.svg`, flame]));
      await writePage(values.write, 'profile', parts.join('\n\n'), pictures);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function profile(
  folder: string,
  seconds: number,
  tables: number,
): Promise<readonly Profiled[]> {
  const all = await cores();
  const [server, own] = [all[0], all.at(-1)];
  if (server === undefined || own === undefined || server === own || !(await pin([own]))) {
    throw new Error("needs Linux's taskset (Debian: util-linux) and two processors");
  }
  const profiles = join(folder, 'profiles');
  const data = join(folder, 'data');
  await mkdir(data);
  const generator = await findGenerator(folder);
  const names = tables === 1 ? ['events'] : tableNames(tables);
  // `wrk` sends to one table.
  const send = async (door: Door, so: number): Promise<number> => {
    if (tables === 1) return (await generator.closedLoop(door, oneEach, so)).acknowledged;
    const load = await LoadThread.open({
      ...door,
      connections: oneEach.connections,
      tables: names,
    });
    const { sent } = await load.run({ seconds: so });
    await load.close();
    return sent;
  };
  // Making the tables is no part of it.
  const made = await whileUsed(
    () => startMillrace(data, [server], 'all'),
    async ({ door, stored }) => {
      await send(door, warmUpSeconds);
      return stored(names);
    },
    ({ stop }) => stop(),
  );
  // For each process of the server; written as it ends.
  process.env['NODE_OPTIONS'] = `--cpu-prof --cpu-prof-dir=${profiles}`;
  const [edge, store] = await whileUsed(
    () => startMillrace(data, [server], 'edge'),
    async ({ door, edgePids, startStore, loaded, stored }) => {
      progress('warm-up');
      const warm = await send(door, warmUpSeconds);
      progress('load of the edge');
      let taken = 0;
      const ofEdge = await watch(edgePids[0] ?? 0, async () => {
        taken = await send(door, seconds);
      });
      progress('load of the store');
      const ofStore = await watch(await startStore(), loaded);
      const loadedEvents = (await stored(names)) - made;
      if (loadedEvents < warm + taken) throw new Error('events are missing');
      return [
        { ...ofEdge, events: taken },
        { ...ofStore, events: loadedEvents },
      ] as const;
    },
    ({ stop }) => stop(),
  );
  progress('');
  return [await profiled('edge', profiles, edge), await profiled('store', profiles, store)];
}

/** What a process does meanwhile. */
async function watch(pid: number, work: () => Promise<unknown>): Promise<Omit<Seen, 'events'>> {
  const before = await threadsMsOf(pid);
  const fromMicros = nowMicros();
  await work();
  const toMicros = nowMicros();
  const after = await threadsMsOf(pid);
  const mainMs = after.main - before.main;
  return { pid, fromMicros, toMicros, mainMs, othersMs: after.others - before.others };
}

/** Of the clock that V8's profiles have. */
function nowMicros(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

async function profiled(name: Profiled['name'], folder: string, seen: Seen): Promise<Profiled> {
  const { pid, events, mainMs, othersMs } = seen;
  // Its first thread's: CPU.<day>.<time>.<pid>.<thread>.<number>.cpuprofile
  const files = await readdir(folder);
  const file = files.find((one) => one.split('.').slice(3, 5).join() === `${pid},0`);
  if (file === undefined) throw new Error(`the ${name} has written no profile`);
  const read = JSON.parse(await readFile(join(folder, file), 'utf8')) as CpuProfile;
  const tree = callTree(read, seen);
  // The profiler counts time in which others had the core; the system does not.
  const [mainMicros = NaN, otherMicros = NaN] = [mainMs, othersMs].map((ms) => {
    return (ms * 1_000) / events;
  });
  const flame = flameGraph(`Where the time of Millrace's ${name} goes`, tree, mainMicros);
  return { name, events, spent: spentByPlace(tree), mainMicros, otherMicros, flame };
}

const head = ['where', 'µs', 'share'];

function titleOf({ name, events, mainMicros, otherMicros }: Profiled): string {
  const others = name === 'edge' ? 'those that write the log' : "the engine's";
  return (
    `The ${name}, ${events.toLocaleString('en-US')} events: of a processor, an event costs ` +
    `${mainMicros.toFixed(1)} µs in the thread of JavaScript and ${otherMicros.toFixed(1)} µs in ` +
    `the other threads, ${others}. The former, file by file:`
  );
}

function rows({ spent, mainMicros }: Profiled, top: number): readonly (readonly string[])[] {
  const rest = spent.slice(top);
  const more = {
    place: `${rest.length} more`,
    share: rest.reduce((sum, { share }) => sum + share, 0),
  };
  return [...spent.slice(0, top), more].map(({ place, share }) => {
    return [place, (share * mainMicros).toFixed(2), `${(share * 100).toFixed(1)} %`];
  });
}

await runScript(main);
