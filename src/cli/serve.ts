import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve as absolute } from 'node:path';
import {
  createLogger,
  DirectoryLock,
  fault,
  isNoRoom,
  messageOf,
  nodeDisk,
  randomIds,
} from '../base/index.ts';
import type { Config, TlsFiles, Values } from '../config.ts';
import { Supervisor } from '../supervise/index.ts';
import { defineCommand } from './command.ts';
import { selfSigned } from './certificate.ts';
import { printGuide } from './guide.ts';
import { readServerFile, removeServerFile, writeServerFile } from './server-file.ts';

const tlsPortDefault = 8443;

export const serveCommand = defineCommand('serve', {
  summary: 'take postbacks, keep them, load them, answer SQL',
  settings: [
    'data',
    'host',
    'port',
    'tlsPort',
    'tlsCert',
    'tlsKey',
    'tlsSelfSigned',
    'adminPort',
    'edges',
    'hotLane',
    'strict',
    'trustedProxies',
    'redirectHosts',
    'globalId',
    'sscDomains',
    'diskReserve',
    'logLevel',
    'quarantineBytes',
    'quarantineDays',
    'archiveMinutes',
    'compactionShare',
    'rawDays',
    'alarmWebhook',
    'guide',
  ],
  examples: [
    'serve --guide',
    'serve --data /var/lib/millrace --host 0.0.0.0 --port 80 --edges 4',
    'serve --tls-port 8443 --tls-cert cert.pem --tls-key key.pem',
    'serve --tls-self-signed',
    'serve --config millrace.toml',
  ],
  run: serve,
});

async function serve(
  values: Omit<Config, 'instance' | 'tls'> & TlsSettings & { readonly guide: boolean },
): Promise<void> {
  const { guide, tlsPort, tlsCert, tlsKey, tlsSelfSigned, ...settings } = values;
  mustDiffer('--port', settings.port, '--admin-port', settings.adminPort);
  await makeDataDirectory(settings.data);
  const lock = await DirectoryLock.take(join(settings.data, 'LOCK'), () => holderOf(settings.data));
  const logger = createLogger(settings.logLevel, 'supervisor');
  if (((await stat(settings.data)).mode & 0o022) !== 0) {
    const hint = `chmod 700 ${settings.data}`;
    logger.warn({ hint }, 'others may write to the data directory, and so put keys in force');
  }
  const config: Config = Object.freeze({
    ...settings,
    port: await freePort(settings.host, settings.port, '--port'),
    adminPort: await freePort('127.0.0.1', settings.adminPort, '--admin-port'),
    tls: await tlsFiles({ ...settings, tlsPort, tlsCert, tlsKey, tlsSelfSigned }),
    instance: randomIds.bytes(8).toString('hex'),
  });
  const stop = stopSignal();
  const edges = Array.from(
    { length: config.edges },
    (_, shard) => ({ kind: 'edge', shard }) as const,
  );
  const supervisor = await Supervisor.open(config, [...edges, { kind: 'store' }], logger);
  try {
    await announce(config, guide);
    logger.info({ signal: await stop }, 'draining');
  } finally {
    await supervisor.close();
    await removeServerFile(config.data);
    lock.release();
  }
  logger.info('drained');
  process.exit(0);
}

type TlsSettings = Values<'tlsPort' | 'tlsCert' | 'tlsKey' | 'tlsSelfSigned'>;

/** The port with TLS and its files; undefined when none is asked for. @throws BAD_SETTING */
async function tlsFiles(
  values: TlsSettings & Pick<Config, 'data' | 'host' | 'port' | 'adminPort'>,
): Promise<TlsFiles | undefined> {
  const { tlsPort, tlsCert, tlsKey, tlsSelfSigned, data, host, port, adminPort } = values;
  const isAsked = tlsSelfSigned || [tlsPort, tlsCert, tlsKey].some((value) => value !== undefined);
  if (!isAsked) return undefined;
  const given =
    tlsCert && tlsKey ? { certPath: absolute(tlsCert), keyPath: absolute(tlsKey) } : undefined;
  if (!given && (!tlsSelfSigned || tlsCert || tlsKey)) {
    const seen = 'TLS needs both --tls-cert and --tls-key, or --tls-self-signed for trying out';
    throw fault('BAD_SETTING', { seen });
  }
  const wanted = tlsPort ?? tlsPortDefault;
  mustDiffer('--port', port, '--tls-port', wanted);
  mustDiffer('--admin-port', adminPort, '--tls-port', wanted);
  const files = given ?? (await selfSigned(data, host));
  return { port: await freePort(host, wanted, '--tls-port'), ...files };
}

function mustDiffer(one: string, port: number, other: string, otherPort: number): void {
  if (port === 0 || port !== otherPort) return;
  throw fault('BAD_SETTING', { seen: `${one} and ${other} are both ${port}` });
}

async function makeDataDirectory(data: string): Promise<void> {
  try {
    await nodeDisk.makeDirectory(data);
    await nodeDisk.makeDirectory(join(data, 'log'));
  } catch (error) {
    if (isNoRoom(error)) throw error;
    const seen = `the data directory ${data} cannot be made: ${messageOf(error)}`;
    throw fault('BAD_SETTING', { seen }, error);
  }
}

/** Says that the server takes traffic, to people and to the other commands. */
async function announce(config: Config, guide: boolean): Promise<void> {
  const ingest = `http://${urlHost(config.host)}:${config.port}`;
  const admin = `http://127.0.0.1:${config.adminPort}`;
  const startedAt = new Date().toISOString();
  const { data, instance, tls } = config;
  const secure = tls && { tls: `https://${urlHost(config.host)}:${tls.port}` };
  await writeServerFile(data, { pid: process.pid, startedAt, ingest, ...secure, admin, instance });
  const ports = `ingest ${ingest} admin ${admin}${secure ? ` tls ${secure.tls}` : ''}`;
  console.log(`millrace is ready: ${ports}`);
  if (guide) await printGuide(data, ingest);
}

/**
 * Resolves with the first signal to stop. Further ones change nothing: whoever signals a whole
 * process group sends one here twice, once by way of npm, and a drain has its own time limit.
 */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => resolve(signal));
    }
  });
}

function holderOf(dataDirectory: string): string {
  const server = readServerFile(dataDirectory);
  if (!server) return 'another millrace';
  return `the server with process id ${server.pid} (${server.ingest}, since ${server.startedAt})`;
}

/** The port, or a free one for 0. @throws PORT_IN_USE */
function freePort(host: string, port: number, flag: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      const seen = `${host}:${port}`;
      const why = `cannot listen on ${seen}: ${messageOf(error)}`;
      reject(
        error.code === 'EADDRINUSE'
          ? fault('PORT_IN_USE', { seen, flag }, error)
          : fault('BAD_SETTING', { seen: why }, error),
      );
    });
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      const found = typeof address === 'object' && address ? address.port : port;
      server.close(() => resolve(found));
    });
  });
}

function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
