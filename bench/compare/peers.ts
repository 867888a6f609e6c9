import { access, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { getuid } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventBytes } from '../events.ts';
import type { Door } from './generator.ts';
import { freePort, host, pinned, startProgram, versionOf } from './programs.ts';

/* Other programs that take events by HTTP, as they are set up when their answer is to mean most. */

export type Running = {
  readonly door: Door;
  /** Of the process above all of its processes. */
  readonly pid: number;
  /** How many events are where they were to be, if that can be told. */
  readonly stored: () => Promise<number | undefined>;
  readonly stop: () => Promise<void>;
};

export type Contender = {
  readonly name: string;
  /** How it is set up. */
  readonly setting: string;
  /** What of an event is safe when it is acknowledged. */
  readonly means: 'on disk' | 'with the kernel' | 'about to be written' | 'in memory';
  /** @param folder its own, empty. */
  readonly start: (folder: string, cores: readonly number[]) => Promise<Running>;
};

/** What was found of one program, or how to get it. */
export type Peer = { readonly contenders: readonly Contender[]; readonly said: string };

export async function findPeers(): Promise<readonly Peer[]> {
  return Promise.all([findNginx(), findFluentBit(), findVector()]);
}

async function findNginx(): Promise<Peer> {
  const version = await versionOf('nginx', ['-v'], /nginx\/(\S+)/);
  const modules = await versionOf('nginx', ['-V'], /--modules-path=(\S+)/);
  const module = await firstOf(
    [modules ?? '', '/usr/lib/nginx/modules', '/usr/lib64/nginx/modules'].map((folder) =>
      join(folder, 'ngx_http_echo_module.so'),
    ),
  );
  if (version === undefined || module === undefined) {
    const missing = version === undefined ? 'nginx' : "nginx's module echo";
    const how = 'Debian: apt-get install nginx-light libnginx-mod-http-echo';
    return { contenders: [], said: `${missing} was not found (${how})` };
  }
  const contender = (setting: string, buffering: string, means: Contender['means']): Contender => ({
    name: 'nginx',
    setting,
    means,
    start: (folder, cores) => startNginx(folder, cores, module, buffering),
  });
  return {
    contenders: [
      contender('a write for each event, not synced', '', 'about to be written'),
      contender('access_log buffer=64k', 'buffer=64k flush=1s', 'in memory'),
    ],
    said: `nginx ${version}`,
  };
}

/**
 * The body of each request becomes a line of the access log, which is all that it can keep. It
 * answers first, and writes then.
 */
async function startNginx(
  folder: string,
  cores: readonly number[],
  module: string,
  buffering: string,
): Promise<Running> {
  const port = await freePort();
  const log = join(folder, 'bodies.log');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => {
    return `${name}_temp_path ${join(folder, name)};`;
  });
  const conf = `
    ${getuid?.() === 0 ? 'user root;' : ''}
    load_module ${module};
    worker_processes 1;
    daemon off;
    pid ${join(folder, 'pid')};
    error_log stderr error;
    events { worker_connections 4096; }
    http {
      ${temporary.join(' ')}
      log_format body escape=none '$request_body';
      access_log ${log} body ${buffering};
      keepalive_requests 1000000000;
      client_body_buffer_size 16k;
      client_body_in_single_buffer on;
      server {
        listen ${host}:${port} backlog=1024;
        location / { default_type application/json; echo_read_request_body; echo -n '{}'; }
      }
    }`;
  const file = join(folder, 'nginx.conf');
  await writeFile(file, conf);
  const command = ['nginx', '-c', file, '-p', folder, '-e', 'stderr'];
  const running = await startProgram([...pinned(cores), ...command], port);
  const stored = async () => {
    await sleep(buffering === '' ? 200 : 1_500);
    return (await stat(log)).size / (eventBytes + 1);
  };
  return { door: { host, port, key: 'none' }, stored, ...running };
}

async function findFluentBit(): Promise<Peer> {
  const [program, version] = await found(
    ['fluent-bit', '/opt/fluent-bit/bin/fluent-bit'],
    /Fluent Bit v(\S+)/,
  );
  if (program === undefined) {
    const how = "the project's Debian package puts it into /opt/fluent-bit; https://fluentbit.io";
    return { contenders: [], said: `fluent-bit was not found (${how})` };
  }
  const contender = (setting: string, means: Contender['means'], storage: Storage): Contender => ({
    name: 'Fluent Bit',
    setting,
    means,
    start: (folder, cores) => startFluentBit(folder, cores, program, storage),
  });
  return {
    contenders: [
      contender('default: storage.type memory', 'in memory', { type: 'memory', sync: 'normal' }),
      contender('storage.type filesystem', 'with the kernel', {
        type: 'filesystem',
        sync: 'normal',
      }),
      contender('storage.type filesystem, storage.sync full', 'with the kernel', {
        type: 'filesystem',
        sync: 'full',
      }),
    ],
    said: `Fluent Bit ${version}`,
  };
}

type Storage = { readonly type: 'memory' | 'filesystem'; readonly sync: 'normal' | 'full' };

/** Events go on to a file: the least that it can do with them. */
async function startFluentBit(
  folder: string,
  cores: readonly number[],
  program: string,
  { type, sync }: Storage,
): Promise<Running> {
  const port = await freePort();
  const file = join(folder, 'fluent-bit.conf');
  const path = join(folder, 'storage');
  const storage = type === 'memory' ? '' : `storage.path  ${path}\n    storage.sync  ${sync}`;
  await writeFile(
    file,
    `
[SERVICE]
    flush         1
    daemon        off
    log_level     error
    ${storage}

[INPUT]
    name                      http
    listen                    ${host}
    port                      ${port}
    storage.type              ${type}
    successful_response_code  200

[OUTPUT]
    name   file
    match  *
    path   ${folder}
    file   events.out
`,
  );
  const running = await startProgram([...pinned(cores), program, '-c', file], port);
  return { door: { host, port, key: 'none' }, stored: unknown, ...running };
}

async function findVector(): Promise<Peer> {
  const [program, version] = await found(['vector'], /vector (\S+)/);
  if (program === undefined) {
    return { contenders: [], said: 'vector was not found (https://vector.dev has packages)' };
  }
  const contender = (setting: string, means: Contender['means'], sink: string): Contender => ({
    name: 'Vector',
    setting,
    means,
    start: (folder, cores) => startVector(folder, cores, program, sink),
  });
  const acknowledged = 'acknowledgements.enabled = true';
  const disk = 'buffer = { type = "disk", max_size = 1073741824, when_full = "block" }';
  return {
    contenders: [
      contender('default: buffer in memory', 'in memory', ''),
      contender('acknowledgements', 'with the kernel', acknowledged),
      contender('acknowledgements, disk buffer', 'with the kernel', `${acknowledged}\n${disk}`),
    ],
    said: `Vector ${version}`,
  };
}

async function startVector(
  folder: string,
  cores: readonly number[],
  program: string,
  sink: string,
): Promise<Running> {
  const port = await freePort();
  const file = join(folder, 'vector.toml');
  await writeFile(
    file,
    `
data_dir = "${folder}"

[sources.events]
type = "http_server"
address = "${host}:${port}"
strict_path = false
decoding.codec = "json"

[sinks.file]
type = "file"
inputs = ["events"]
path = "${join(folder, 'events.out')}"
encoding.codec = "json"
${sink}
`,
  );
  const command = [...pinned(cores), program, '--config', file, '--threads', '1'];
  const running = await startProgram(command, port, { VECTOR_LOG: 'error' });
  return { door: { host, port, key: 'none' }, stored: unknown, ...running };
}

function unknown(): Promise<undefined> {
  return Promise.resolve(undefined);
}

/** The first of these programs that is there, and its version. */
async function found(
  programs: readonly string[],
  pattern: RegExp,
): Promise<readonly [string, string] | readonly [undefined, undefined]> {
  for (const program of programs) {
    const version = await versionOf(program, ['--version'], pattern);
    if (version !== undefined) return [program, version];
  }
  return [undefined, undefined];
}

async function firstOf(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return undefined;
}
