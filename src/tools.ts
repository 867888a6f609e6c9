import type { Duplex } from 'node:stream';
import { createLogger, type Disk, messageOf, Metrics, nodeDisk } from './base/index.ts';
import { randomIds, systemClock } from './base/index.ts';
import type { RoomsConfig } from './config.ts';
import { standBack } from './supervise/index.ts';
import type { Store } from './store/index.ts';

/** What the rooms of one process share; what is a seam of it can be another's. */
export type Tools = Omit<ReturnType<typeof toolsOf>, 'disk' | 'openStore'> & {
  readonly disk: Disk;
  /** A segment of the log is sealed once it is this long; the default depends on the disk. */
  readonly segmentBytes?: number;
  /** Is given each edge when it can take connections: those of an edge without a port. */
  readonly onEdge?: (edge: { connect(connection: Duplex): void }) => void;
  readonly openStore: (directory: string, config: RoomsConfig) => Promise<Store>;
};

/** The real ones. */
export function toolsOf(config: RoomsConfig, process: string) {
  const logger = createLogger(config.logLevel, process);
  return {
    dataDirectory: config.data,
    reserveBytes: config.diskReserve,
    disk: nodeDisk,
    clock: systemClock,
    ids: randomIds,
    logger,
    metrics: new Metrics(process),
    openStore: async (directory: string, settings: RoomsConfig): Promise<Store> => {
      const { openStore } = await import('./store/index.ts');
      return openStore(directory, settings);
    },
    /** Queries and loading may take all that edges leave, and no more. */
    standBack,
    /** Ends the process: its supervisor starts it anew, and recovery tells what is on disk. */
    onFatal: (error: unknown) => {
      logger.error({ error: messageOf(error) }, 'this process must start anew');
      // An exit would wait for threads of the pool, and a query may keep one.
      globalThis.process.kill(globalThis.process.pid, 'SIGKILL');
    },
  };
}
