import { type Logger as Pino, pino } from 'pino';

/** JSON lines on stderr. ERROR means: data at risk, or an operator is needed. */
export type Logger = Pick<Pino, 'debug' | 'info' | 'warn' | 'error' | 'child'>;

export function createLogger(level: string, name: string): Logger {
  const options = {
    level,
    base: { process: name, pid: process.pid },
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return pino(options, pino.destination({ fd: 2, sync: true }));
}
