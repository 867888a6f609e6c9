import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DuckDBAppender, DuckDBConnection } from '@duckdb/node-api';
import { nodeDisk } from '../../src/base/index.ts';

/*
 * Loaded into the processes of a server before anything else: the store kills itself at its n-th
 * call of the SQL engine, or of the disk to change something, from the moment on in which the
 * folder has a file `armed`; or the call fails. The file `killed` says that it did, and at what: it
 * is done once. `steps` lists every call by its number, 0 for those before.
 *
 * Only the store calls the engine, so the other processes live; calls of the disk count from its
 * first one of the engine on.
 */

const { STEP_FOLDER: folder = '', STEP_INDEX: index, STEP_SIDE: side } = process.env;
const [armed, killed] = [join(folder, 'armed'), join(folder, 'killed')];
let count = 0;

/** What only looks, of which there is too much. What writes a file gives an answer, too. */
const isLook = /^runAndReadAll (?!\s*COPY)/;
/** Parts of users' queries. */
const isGuard = /^(SELECT json_serialize_sql|BEGIN TRANSACTION READ ONLY)/;

type Method = (...args: unknown[]) => unknown;
type Methods = Record<string, Method>;
let isStore = false;

for (const [prototype, name] of [
  [DuckDBConnection.prototype, 'run'],
  [DuckDBConnection.prototype, 'runAndReadAll'],
  [DuckDBConnection.prototype, 'createAppender'],
  [DuckDBAppender.prototype, 'closeSync'],
] as const) {
  const methods = prototype as unknown as Methods;
  const original = methods[name] as Method;
  methods[name] = function step(...args) {
    isStore = true;
    const what = [name, ...args].join(' ').replace(/\s+/g, ' ').slice(0, 100);
    const isMeant = !isGuard.test(String(args[0])) && !isLook.test(what);
    if (!isMeant) return original.apply(this, args);
    return dying(what, () => original.apply(this, args));
  };
}

for (const name of [
  'makeDirectory',
  'create',
  'openDurable',
  'rename',
  'remove',
  'syncDirectory',
  'syncFile',
] as const) {
  const methods = nodeDisk as unknown as Methods;
  const original = methods[name] as Method;
  methods[name] = function step(...args) {
    const what = [name, ...args].join(' ');
    return isStore ? dying(what, () => original.apply(this, args)) : original.apply(this, args);
  };
}

/** Makes a call, and dies before or after it if it is the one, or lets it fail. */
function dying(what: string, call: () => unknown): unknown {
  const isChosen = isNext(what);
  if (isChosen && side === 'before') kill(what);
  if (isChosen && side === 'fails') return failed(what, call);
  const result = call();
  if (!isChosen) return result;
  return result instanceof Promise ? result.finally(() => kill(what)) : kill(what);
}

/** As the call itself would say it. */
function failed(what: string, call: () => unknown): Promise<never> {
  writeFileSync(killed, what);
  const error = Object.assign(new Error('IO Error: a fault'), { code: 'EIO' });
  if (what.startsWith('closeSync')) {
    // It closes whatever happens: what it had must not be written later.
    call();
    throw error;
  }
  return Promise.reject(error);
}

function isNext(what: string): boolean {
  const counts = existsSync(armed) && !existsSync(killed);
  if (counts) count += 1;
  appendFileSync(join(folder, 'steps'), `${counts ? count : 0} ${what}\n`);
  return counts && count === Number(index);
}

function kill(what: string): void {
  writeFileSync(killed, what);
  process.kill(process.pid, 'SIGKILL');
}
