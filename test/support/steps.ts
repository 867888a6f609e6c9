import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { eventually } from './eventually.ts';
import { Random } from './random.ts';
import { temporaryDirectory, TestServer } from './server.ts';

/** Whether every fault is met; `kills`: the deaths alone. */
export const isWhole = process.env.STEPS === 'all' || process.env.STEPS === 'kills';
/** Else every so many-th, from one by chance on. Odd: both sides of a step have their turn. */
const strideOfSome = 17;
/** In each loop: a run waits more than it works. */
const runsAtOnce = 2;
/** What failed by itself rests for a minute; on a busy machine books are checked more seldom. */
export const patientMs = 100_000;
const preload = new URL('kill-step.ts', import.meta.url).href;

const kills = ['before', 'after'] as const;
/** Calls that fail are met by `STEPS=all` alone: what failed by itself rests for a minute. */
const sides = process.env.STEPS === 'all' ? ([...kills, 'fails'] as const) : kills;

/** When the store dies: before a call of the engine, or when it has returned; or the call fails. */
type Fault = { readonly step: number; readonly side: (typeof sides)[number] };

/** A run of a scenario, on a server whose store kills itself at one of its steps. */
export class StepRun implements AsyncDisposable {
  readonly data: string;
  /** Whether its fault is a death. */
  readonly isMortal: boolean;
  readonly #folder: string;
  readonly #environment: readonly string[];
  readonly #args: readonly string[];
  #server: TestServer | undefined;
  #failedStarts = 0;

  constructor(folder: string, { step, side }: Fault, args: readonly string[] = []) {
    this.#args = args;
    this.isMortal = side !== 'fails';
    this.data = join(folder, 'data');
    this.#folder = folder;
    const fault = [`STEP_FOLDER=${folder}`, `STEP_INDEX=${step}`, `STEP_SIDE=${side}`];
    this.#environment = ['env', `NODE_OPTIONS=--import ${preload}`, ...fault];
  }

  /** A server whose store dies before it was ready ends too: it is started again. */
  async start(): Promise<TestServer> {
    for (;;) {
      try {
        this.#server = await TestServer.start(this.data, this.#args, this.#environment);
        return this.#server;
      } catch (error) {
        const isKilled = this.#failedStarts === 0 && (await this.killedAt()) !== undefined;
        if (isKilled) this.#failedStarts = 1;
        // Among many servers: a port that was free a moment ago.
        else if (!String(error).includes('EADDRINUSE')) throw error;
      }
    }
  }

  /** Steps count from now on. */
  arm(): Promise<void> {
    return writeFile(join(this.#folder, 'armed'), '');
  }

  /** From now on the store lives. */
  disarm(): Promise<void> {
    return rm(join(this.#folder, 'armed'));
  }

  /** The step at which the store killed itself; undefined if it met none. */
  killedAt(): Promise<string | undefined> {
    return readFile(join(this.#folder, 'killed'), 'utf8').catch(() => undefined);
  }

  /** How many steps a run had whose store lived. */
  async steps(): Promise<number> {
    const lines = (await this.#calls()).split('\n');
    return Math.max(...lines.map((line) => Number(line.split(' ')[0])));
  }

  /** Resolves when the store has checked its books once more. */
  async audited(): Promise<void> {
    const audits = async () => {
      // The call that comes next after a check.
      return (await this.#calls()).split('SELECT count(*) AS n FROM mr.ledger').length;
    };
    const before = await audits();
    const isChecked = async () => (await audits()) > before;
    await eventually('the books are checked', isChecked, patientMs);
  }

  /** What the store called, in order; the steps of an earlier one before it included. */
  async calls(): Promise<readonly string[]> {
    const lines = (await this.#calls()).split('\n');
    return lines.map((line) => line.slice(line.indexOf(' ') + 1));
  }

  #calls(): Promise<string> {
    return readFile(join(this.#folder, 'steps'), 'utf8');
  }

  /** How often the store was started anew. */
  get restarts(): number {
    const lines = this.#server?.stderr().match(/"child":"store".*"signal":"SIGKILL"/g) ?? [];
    return this.#failedStarts + lines.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.kill();
  }
}

type Loop = {
  readonly name: string;
  /** What the data directory begins with. */
  readonly template?: string;
  /** What else the server is started with. */
  readonly args?: readonly string[];
  /** Every so many-th fault is met, where not all are. Odd. */
  readonly stride?: number;
  /** Disarms, and checks what came of it. */
  readonly scenario: (run: StepRun) => Promise<void>;
};

/**
 * Runs a scenario again and again, with the store killed before and after its 1st, 2nd, 3rd …
 * step, or with the step failing, until a run has no such step.
 */
export async function killAtSteps(
  loop: Loop,
): Promise<{ readonly kills: number; readonly steps: number }> {
  const random = new Random();
  const stride = isWhole ? 1 : (loop.stride ?? strideOfSome);
  const first = random.integer(1, stride);
  const found = { kills: 0, steps: 0 };
  let next = first;
  let failure: unknown;
  const work = async () => {
    while (found.steps === 0 && failure === undefined) {
      const fault = faultAt(next);
      next += stride;
      try {
        const steps = await stepsWith(fault, loop);
        if (steps === undefined) found.kills += 1;
        else found.steps = steps;
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: runsAtOnce }, work));
  const which = `from ${first} by ${stride} (SEED=${random.seed})`;
  console.log(`${loop.name}: ${found.kills} kills, ${found.steps} steps; ${which}`);
  if (failure !== undefined) throw failure;
  return found;
}

/** Before the 1st step, after it, in it, before the 2nd, … */
function faultAt(number: number): Fault {
  const side = sides[(number - 1) % sides.length] ?? 'before';
  return { step: Math.ceil(number / sides.length), side };
}

/** The steps of a run that did not meet the fault; undefined for one that met it. */
async function stepsWith(fault: Fault, loop: Loop): Promise<number | undefined> {
  const { template, args, scenario } = loop;
  await using directory = await temporaryDirectory();
  await using run = new StepRun(directory.path, fault, args);
  if (template !== undefined) await cp(template, run.data, { recursive: true });
  try {
    await scenario(run);
    const isMet = (await run.killedAt()) !== undefined;
    // One that cannot go on after a call that failed is started anew.
    if (run.isMortal) expect(run.restarts).toBe(isMet ? 1 : 0);
    else expect(run.restarts).toBeLessThanOrEqual(1);
    return isMet ? undefined : await run.steps();
  } catch (error) {
    const what = (await run.killedAt()) ?? 'which was not met';
    throw new Error(`step ${fault.step}, ${fault.side}: ${what}`, { cause: error });
  }
}

/** Nothing is in quarantine or elsewhere, and nothing missing: by the ledger and by its check. */
export async function booksMustBe(
  run: StepRun,
  server: TestServer,
  sums: Record<string, number>,
): Promise<void> {
  expect(await ask(server, 'FROM millrace.quarantine')).toEqual([]);
  expect(await ask(server, 'FROM millrace.ledger WHERE remainder <> 0')).toEqual([]);
  const [booked] = await ask(
    server,
    `SELECT sum(received) AS received, sum(committed) AS committed,
      sum(deduplicated) AS deduplicated, sum(dropped) AS dropped FROM millrace.ledger`,
  );
  expect(booked).toEqual(sums);
  await run.audited();
  const status = await fetch(`${server.admin}/status`);
  expect(await status.json()).toMatchObject({
    ledger: { events: 0, where: [] },
    quarantinedEvents: 0,
    waiting: { bytes: 0, events: 0 },
  });
  expect(server.stderr()).not.toContain('the books are wrong');
}

/** The rows of a query, when the store is there. */
export function ask(server: TestServer, sql: string) {
  return eventually(sql, () => server.query(sql));
}

/** Sends a command again until it is answered. */
export async function command(server: TestServer, path: string, given: object) {
  let tries = 0;
  const answered = await eventually(path, async () => {
    tries += 1;
    const response = await fetch(`${server.admin}/${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(given),
    });
    const answer: unknown = await response.json();
    // A call that failed: as its sender is told, it is tried again.
    if (response.status >= 500) throw new Error(JSON.stringify(answer));
    return { status: response.status, answer };
  });
  return { ...answered, wasCut: tries > 1 };
}
