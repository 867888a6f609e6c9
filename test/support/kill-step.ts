import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DuckDBAppender, DuckDBConnection } from '@duckdb/node-api';
import { nodeDisk } from '../../src/base/index.ts';

/*
 * Loaded into the processes of a server before anything else: the store kills itself at its n-th
 * call of the SQL engine or of the disk from the moment on in which the folder has a file `armed`.
 * The file `killed` says that it did, and at what: it is done once. `steps` lists every call by
 * its number, 0 for those before.
 *
 * Only the store calls the engine, and the disk counts only behind that, so other processes live.
 */

const { STEP_FOLDER: folder = '', STEP_INDEX: index, STEP_SIDE: side } = process.env;
const [armed, killed] = [join(folder, 'armed'), join(folder, 'killed')];
let count = 0;
let isStore = false;

/** What only looks: of it there is too much. Files are written by what gives an answer, too. */
const isLook = /^runAndReadAll (?!\s*COPY)/;
/** Parts of users' queries. */
const isGuard = /^(SELECT json_serialize_sql|BEGIN TRANSACTION READ ONLY)/;

type Methods = Record<string, (...args: unknown[]) => unknown>;

for (const [owner, name] of [
  [DuckDBConnection.prototype, 'run'],
  [DuckDBConnection.prototype, 'runAndReadAll'],
  [DuckDBConnection.prototype, 'createAppender'],
  [DuckDBAppender.prototype, 'closeSync'],
  [nodeDisk, 'makeDirectory'],
  [nodeDisk, 'syncDirectory'],
  [nodeDisk, 'syncFile'],
  [nodeDisk, 'rename'],
  [nodeDisk, 'remove'],
] as const) {
  const methods = owner as unknown as Methods;
  const original = methods[name] as Methods[string];
  const isDisk = owner === nodeDisk;
  methods[name] = function step(...args) {
    if (!isDisk) isStore = true;
    const what = [name, ...args]
      .join(' ')
      .replace(/\s+/g, ' ')
      .slice(0, isDisk ? 1000 : 100);
    const isOwn = isStore && !isGuard.test(String(args[0])) && !isLook.test(what);
    if (!isOwn) return original.apply(this, args);
    const isChosen = isNext(what);
    if (isChosen && side === 'before') kill(what);
    const result = original.apply(this, args);
    if (!isChosen) return result;
    return result instanceof Promise ? result.finally(() => kill(what)) : kill(what);
  };
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
