import { mkdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { DirectoryLock, limits, nodeDisk } from '../base/index.ts';
import { blockBytes, putBlocksBack } from './blocks.ts';
import { emptyName, fileName, openCatalog } from './catalog.ts';
import { Duck } from './duckdb.ts';
import { storeFault } from './inspect.ts';
import { follow } from './lake-catalog.ts';
import type { Kept } from './parked.ts';
import { isThere, markStore, mustNotBeLost } from './presence.ts';
import { DuckStore } from './store.ts';
import type { Store } from './seam.ts';
import { quoted, Relations } from './views.ts';
import { cutUnsynced, noteNew } from './synced.ts';
import { mustBeWholeLog } from './wal.ts';

/**
 * Locks and opens the store below a data directory.
 * @throws LOCKED when another process has it, and does not end soon; STORE_MISSING when it is gone;
 * STORE_DAMAGED; STORE_FAILED
 */
export async function openStore(dataDirectory: string, kept: Kept): Promise<Store> {
  const directory = join(dataDirectory, 'store');
  const staging = join(directory, 'staging');
  const lake = resolve(dataDirectory, 'lake');
  await nodeDisk.makeDirectory(directory);
  await nodeDisk.makeDirectory(lake);
  const holder = () => 'a process of an earlier server that is still ending';
  const lock = await DirectoryLock.take(join(directory, 'LOCK'), holder, limits.lockWaitMs);
  let duck: Duck | undefined;
  try {
    await mustNotBeLost(dataDirectory);
    await rm(staging, { recursive: true, force: true });
    await mkdir(staging);
    // What a process was killed with before it had its name.
    for (const name of await nodeDisk.list(directory)) {
      if (/\.\d+\.tmp$/.test(name)) await rm(join(directory, name));
    }
    const settings = {
      // The engine would write its log into its tables at any commit, also when there is no room
      // for both, and then refuse to go on; `#checkpointIfDue` looks first.
      checkpoint_threshold: '1 TB',
      // Each column of each table takes a block at least: 58 small tables were 33 MB, now 6.
      default_block_size: String(blockBytes),
      memory_limit: `${limits.storeMemoryBytesMax} B`,
      // The engine counts the processors of the machine. A thread beyond those of this process
      // takes time from the one that works: it looks for work all the while.
      threads: String(availableParallelism()),
    };
    duck = await openFile(join(directory, fileName), staging, settings);
    const writer = await duck.connect();
    const catalog = await openCatalog(writer);
    const relations = new Relations(lake);
    await follow(writer, relations, lake, catalog.tables.values());
    await writer.run(`SET allowed_directories = [${quoted(staging)}, ${quoted(lake)}]`);
    await writer.run('SET enable_external_access = false');
    // Else an answer would depend on the machine.
    await writer.run("SET GLOBAL TimeZone = 'UTC'");
    const [checker, looker] = [await duck.connect(), await duck.connect()];
    const [live, archiver] = [await duck.connect(), await duck.connect()];
    const connections = { writer, checker, looker, live, archiver };
    // Footers are remembered for users' queries; here files are staged, and read once.
    for (const own of Object.values(connections))
      await own.run('SET parquet_metadata_cache = false');
    await writer.run('SET lock_configuration = true');
    const places = { directory, lakeDirectory: lake, staging, lock };
    const store = new DuckStore({ ...places, duck, ...connections, catalog, relations, kept });
    await store.openLake();
    await markStore(dataDirectory);
    return store;
  } catch (error) {
    duck?.close();
    lock.release();
    throw storeFault(error);
  }
}

/** Opens the engine's file; what the end of the power has torn is put right first. */
async function openFile(
  path: string,
  staging: string,
  settings: Readonly<Record<string, string>>,
): Promise<Duck> {
  const log = `${path}.wal`;
  const open = async (file: string) => {
    await mustBeWholeLog(log);
    return Duck.open(file, join(staging, emptyName), limits.rowGroupRows, settings);
  };
  if (!(await isThere(path))) {
    // Whole before it has its name, and named before it has a log.
    const made = join(staging, fileName);
    (await open(made)).close();
    await noteNew(made, path);
    await nodeDisk.rename(made, path);
    await nodeDisk.syncDirectory(dirname(path));
  }
  // What a killed process has left in memory is on disk before anything is built on it.
  for (const left of [path, log]) if (await isThere(left)) await nodeDisk.syncFile(left);
  await nodeDisk.syncDirectory(dirname(path));
  await putBlocksBack(path);
  await cutUnsynced(path);
  return open(path);
}
