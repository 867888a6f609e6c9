import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve as absolute } from 'node:path';
import { createLogger, fault, isFault, isNoRoom, messageOf } from '../base/index.ts';
import { nodeDisk, randomIds } from '../base/index.ts';
import { type Config, edgesSocket, type TlsFiles, type Values } from '../config.ts';
import { type Role, Supervisor } from '../supervise/index.ts';
import { defineCommand } from './command.ts';
import { selfSigned } from './certificate.ts';
import { printGuide } from './guide.ts';
import { takeLocks } from './locks.ts';
import { removeServerFile, writeServerFile } from './server-file.ts';

const tlsPortDefault = 8443;
/** A command that finds one of two locks taken has had the other for a moment. */
const lockWaitMs = 500;

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
    'role',
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
    'serve --role edge --edges 4',
    'serve --role store',
    'serve --config millrace.toml',
  ],
  run: serve,
});

async function serve(
  values: Omit<Config, 'instance' | 'tls'> & TlsSettings & { readonly guide: boolean },
): Promise<void> {
  const { guide, tlsPort, tlsCert, tlsKey, tlsSelfSigned, ...settings } = values;
  const { role } = settings;
  if (role === 'all') mustDiffer('--port', settings.port, '--admin-port', settings.adminPort);
  await makeDataDirectory(settings.data);
  const release = await takeLocks(settings.data, role, lockWaitMs);
  const logger = createLogger(settings.logLevel, 'supervisor');
  if (((await stat(settings.data)).mode & 0o022) !== 0) {
    const hint = `chmod 700 ${settings.data}`;
    logger.warn({ hint }, 'others may write to the data directory, and so put keys in force');
  }
  const hasEdges = role !== 'store';
  const hasStore = role !== 'edge';
  const { host, port, adminPort } = settings;
  const tls = { ...settings, tlsPort, tlsCert, tlsKey, tlsSelfSigned };
  const config: Config = Object.freeze({
    ...settings,
    port: hasEdges ? await freePort(host, port, '--port') : port,
    adminPort: hasStore ? await freePort('127.0.0.1', adminPort, '--admin-port') : adminPort,
    tls: hasEdges ? await tlsFiles(tls) : undefined,
    instance: randomIds.bytes(8).toString('hex'),
  });
  const stop = stopSignal();
  const edges = Array.from({ length: hasEdges ? config.edges : 0 }, (_, shard): Role => {
    return { kind: 'edge', shard };
  });
  const roles: Role[] = hasStore ? [...edges, { kind: 'store' }] : edges;
  const supervisor = await Supervisor.open(config, roles, logger);
  try {
    if (!hasStore) await supervisor.listen(edgesSocket(config.data));
    await announce(config, guide);
    logger.info({ signal: await stop }, 'draining');
  } finally {
    await supervisor.close();
    if (hasStore) await removeServerFile(config.data);
    release();
  }
  logger.info('drained');
  process.exit(0);
}

/** Systems give connections none of these, unless they are told to: from 32,768 or 49,152 on. */
const [ownPortMin, ownPorts] = [20_000, 12_768];
const ownPortAttempts = 20;
/** Each of them is for one door. */
const ownPortsFound = new Set<number>();

type TlsSettings = Values<'tlsPort' | 'tlsCert' | 'tlsKey' | 'tlsSelfSigned'>;

/** The port with TLS and its files; undefined when none is asked for. @throws BAD_SETTING */
async function tlsFiles(
  values: TlsSettings & Pick<Config, 'data' | 'host' | 'port' | 'adminPort' | 'role'>,
): Promise<TlsFiles | undefined> {
  const { tlsPort, tlsCert, tlsKey, tlsSelfSigned, data, host, port, adminPort, role } = values;
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
  if (role === 'all') mustDiffer('--admin-port', adminPort, '--tls-port', wanted);
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
  const { data, instance, host, role, tls } = config;
  const secure = tls && `https://${urlHost(host)}:${tls.port}`;
  const ingest = role === 'store' ? undefined : `http://${urlHost(host)}:${config.port}`;
  const admin = role === 'edge' ? undefined : `http://127.0.0.1:${config.adminPort}`;
  const ports = { ingest, admin, tls: secure };
  if (admin) {
    const startedAt = new Date().toISOString();
    await writeServerFile(data, { pid: process.pid, startedAt, ...ports, admin, instance });
  }
  const named = Object.entries(ports).map(([name, url]) => (url ? ` ${name} ${url}` : ''));
  console.log(`millrace is ready:${named.join('')}`);
  if (guide && ingest) await printGuide(data, ingest);
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

/**
 * The port, or a free one for 0: not one that the system may give to a connection before our
 * processes listen on it, as long as another is free. @throws PORT_IN_USE, BAD_SETTING
 */
async function freePort(host: string, port: number, flag: string): Promise<number> {
  if (port !== 0) return listenOnce(host, port, flag);
  for (let attempt = 0; attempt < ownPortAttempts; attempt += 1) {
    const one = ownPortMin + (randomIds.bytes(2).readUInt16LE() % ownPorts);
    if (ownPortsFound.has(one)) continue;
    ownPortsFound.add(one);
    try {
      return await listenOnce(host, one, flag);
    } catch (error) {
      if (!isFault(error, 'PORT_IN_USE')) throw error;
    }
  }
  return listenOnce(host, 0, flag);
}

function listenOnce(host: string, port: number, flag: string): Promise<number> {
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
