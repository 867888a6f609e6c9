import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { parse as parseToml } from 'smol-toml';
import { z } from 'zod';
import { fault, messageOf } from './base/index.ts';

/*
 * Every setting there is. A setting is, in this order: a flag, an environment variable
 * `MILLRACE_…`, a line of the config file (TOML or JSON), its default. This file alone reads the
 * environment.
 */

type Setting<T> = {
  readonly schema: z.ZodType<T>;
  /** What the flag's value is called in help; none for a switch. */
  readonly value?: string;
  readonly help: string;
  /** Given again, it is one more. */
  readonly repeats?: boolean;
};

function setting<T>(schema: z.ZodType<T>, help: string, value?: string): Setting<T> {
  return value === undefined ? { schema, help } : { schema, help, value };
}

function integer(min: number, max: number) {
  const expected = `expected a whole number from ${min} to ${max}`;
  const digits = z.string().regex(/^\d+$/, expected).transform(Number);
  return z
    .union([z.number(), digits], expected)
    .pipe(z.int(expected).min(min, expected).max(max, expected));
}

const text = z.string('expected text').min(1, 'expected text');
const flag = z.union(
  [z.boolean(), z.enum(['true', 'false', '1', '0']).transform((word) => /true|1/.test(word))],
  'expected true or false',
);
const list = z
  .union(
    [z.array(z.string()), z.string().transform((words) => words.split(','))],
    'expected a list',
  )
  .transform((words) => words.map((word) => word.trim()).filter((word) => word !== ''));
const hosts = list
  .transform((words) => words.map((word) => word.toLowerCase()))
  .refine(
    (words) => words.every((word) => /^(\*\.)?[a-z0-9.-]+$/.test(word)),
    'expected hosts like shop.example, without https:// and path',
  );
const expiry = z.union(
  [z.literal('never'), z.string().regex(/^[1-9]\d{0,4}[dhm]$/), z.iso.datetime({ offset: true })],
  'expected a time from now such as 90d, 12h or 30m, a time such as 2026-12-31T00:00:00Z, or never',
);
const switches = ['on', 'off'] as const;
const roles = ['all', 'edge', 'store'] as const;
const edgesMax = 64;
const levels = ['debug', 'info', 'warn', 'error'] as const;
const queryFormats = ['table', 'json', 'csv', 'ndjson', 'parquet', 'arrow'] as const;
const unitMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };
const duration = z
  .string()
  .regex(/^[1-9]\d{0,5}[smh]$/, 'expected a time such as 90s, 5m or 1h')
  .transform((word) => Number(word.slice(0, -1)) * (unitMs[word.slice(-1)] ?? 0));

export const settings = {
  data: setting(text.default('./millrace-data'), 'data directory', 'DIR'),
  config: setting(text.optional(), 'config file, TOML or JSON', 'FILE'),
  host: setting(text.default('127.0.0.1'), 'address to take postbacks on', 'HOST'),
  port: setting(integer(0, 65_535).default(8080), 'port to take postbacks on; 0: any', 'PORT'),
  adminPort: setting(integer(0, 65_535).default(8081), 'port for operators, on loopback', 'PORT'),
  role: setting(
    z.enum(roles, `expected one of ${roles.join(', ')}`).default('all'),
    'edge: only take postbacks; store: only load them and answer; all: both',
    'ROLE',
  ),
  edges: setting(
    integer(1, edgesMax).default(edgesDefault()),
    'processes that take postbacks, by itself one less than there are cores',
    'N',
  ),
  tlsPort: setting(integer(0, 65_535).optional(), 'port with TLS (default: 8443 if used)', 'PORT'),
  tlsCert: setting(text.optional(), 'certificate and its chain, PEM', 'FILE'),
  tlsKey: setting(text.optional(), 'private key of the certificate, PEM', 'FILE'),
  tlsSelfSigned: setting(flag.default(false), 'make a certificate for localhost, for trying out'),
  hotLane: setting(
    z.enum(switches, 'expected on or off').default('on'),
    'read simple requests without the standard parser: on or off',
    'MODE',
  ),
  strict: setting(flag.default(false), 'refuse a wrong key at once, instead of quarantine'),
  strictKey: setting(flag.default(false), 'where it may not write: 401 or 403, no quarantine'),
  trustedProxies: setting(
    list.default([]),
    'proxies whose X-Forwarded-For names the client: addresses, networks',
    'LIST',
  ),
  redirectHosts: setting(
    hosts.default([]),
    'hosts that td_redirect may lead to, like shop.example',
    'LIST',
  ),
  globalId: setting(
    z.enum(switches, 'expected on or off').default('on'),
    'ids of visitors across sites, by cookie: on or off',
    'MODE',
  ),
  sscDomains: setting(hosts.default([]), 'domains that get cookie ids from /get_cookie_id', 'LIST'),
  diskReserve: setting(
    integer(0, Number.MAX_SAFE_INTEGER).optional(),
    'free bytes below which events are refused (default: 5 % of the disk, 128 to 512 MiB)',
    'BYTES',
  ),
  logLevel: setting(
    z.enum(levels, `expected one of ${levels.join(', ')}`).default('info'),
    `one of ${levels.join(', ')}`,
    'LEVEL',
  ),
  quarantineBytes: setting(
    integer(0, Number.MAX_SAFE_INTEGER).default(1024 ** 3),
    'quarantine kept for each reason; beyond, the oldest events go',
    'BYTES',
  ),
  quarantineDays: setting(
    integer(0, 36_500).default(90),
    'how long events stay in quarantine; then they go',
    'DAYS',
  ),
  archiveMinutes: setting(
    integer(1, 10_080).default(60),
    'how long rows stay hot; then they are moved to Parquet files',
    'MINUTES',
  ),
  rawDays: setting(
    integer(0, 36_500).default(0),
    'how long the exact bytes of events are kept after they were loaded; 0: not at all',
    'DAYS',
  ),
  compactionShare: setting(
    integer(1, 100).default(25),
    'percent of the time in which small files may be merged',
    'PERCENT',
  ),
  alarmWebhook: setting(
    z
      .url({ protocol: /^https?$/, error: 'expected an address like https://…' })
      .refine((url) => new URL(url).username === '', 'expected an address without a name in it')
      .optional(),
    'address that alarms are posted to, as JSON',
    'URL',
  ),
  guide: setting(flag.default(false), 'make a first key if there is none, and say what to do next'),
  database: setting(
    text.optional(),
    "database the key may write to; '*' in it stands for any characters",
    'DB',
  ),
  table: setting(text.optional(), "table the key may write to, the same way; '*' for any", 'TABLE'),
  reason: setting(text.optional(), 'why events are in quarantine, like unknown_key', 'REASON'),
  key: setting(text.optional(), 'id or name of a key, or how its fingerprint begins', 'KEY'),
  since: setting(text.optional(), 'received since then, like 2026-11-23T12:00Z or 90m', 'TIME'),
  until: setting(text.optional(), 'received before then', 'TIME'),
  where: setting(text.optional(), "which events, as behind WHERE: email = 'x'", 'CONDITION'),
  dryRun: setting(flag.default(false), 'change nothing, only say what would happen'),
  verify: setting(flag.default(false), 'also read what the backup has already, and mend it'),
  repair: setting(flag.default(false), 'mend what can be mended; what it changes is kept aside'),
  yes: setting(flag.default(false), 'do not ask'),
  after: setting(text.optional(), 'wait until the events of this receipt are there', 'RECEIPT'),
  name: setting(text.optional(), 'name of the key, for people', 'NAME'),
  origins: setting(
    list.optional(),
    'origins of the pages that may use the key, like https://shop.example; * for any',
    'LIST',
  ),
  expires: setting(
    expiry.optional(),
    'when the key ends: 90d, 12h, 30m, 2026-12-31T00:00:00Z, never',
    'WHEN',
  ),
  expiresOld: setting(expiry.optional(), 'when the old key ends (default: as it did)', 'WHEN'),
  nameNew: setting(text.optional(), 'new name of the key', 'NAME'),
  all: setting(flag.default(false), 'every key of that name'),
  json: setting(flag.default(false), 'print JSON'),
  yaml: setting(flag.default(false), 'print YAML instead of JSON'),
  format: setting(
    z.enum(queryFormats, `expected one of ${queryFormats.join(', ')}`).optional(),
    `one of ${queryFormats.join(', ')} (default: table)`,
    'FORMAT',
  ),
  file: setting(text.optional(), 'read the SQL from a file; - for standard input', 'FILE'),
  param: {
    ...setting(z.array(z.string()).default([]), 'value of $1, $2 …, or NAME=VALUE', 'VALUE'),
    repeats: true,
  },
  timeout: setting(duration.optional(), 'how long it may take (default: 60s)', 'TIME'),
  minutes: setting(integer(1, 1_440).optional(), 'how long (default: 2)', 'N'),
  rounds: setting(integer(1, 1_000_000).optional(), 'how many rounds, each with a kill', 'N'),
  seed: setting(integer(0, 2 ** 31 - 1).optional(), 'does the same again', 'N'),
  seconds: setting(integer(1, 3_600).default(10), 'how long, more or less', 'N'),
  to: setting(text.optional(), 'folder to write to; it is made if need be', 'DIR'),
} satisfies Record<string, Setting<unknown>>;

export type SettingName = keyof typeof settings;
export type Values<N extends SettingName> = {
  readonly [K in N]: z.infer<(typeof settings)[K]['schema']>;
};

/** The port with TLS, and what it serves. */
export type TlsFiles = {
  readonly port: number;
  readonly certPath: string;
  readonly keyPath: string;
};

/** What the processes of a server need. Plain data: it is sent to them. */
export type Config = Values<
  | 'data'
  | 'host'
  | 'port'
  | 'adminPort'
  | 'role'
  | 'edges'
  | 'strict'
  | 'trustedProxies'
  | 'redirectHosts'
  | 'globalId'
  | 'hotLane'
  | 'sscDomains'
  | 'diskReserve'
  | 'logLevel'
  | 'quarantineBytes'
  | 'quarantineDays'
  | 'archiveMinutes'
  | 'compactionShare'
  | 'rawDays'
  | 'alarmWebhook'
> & {
  readonly tls: TlsFiles | undefined;
  /** Names one run of the server. */
  readonly instance: string;
};

/** What the rooms behind the edges need. */
export type RoomsConfig = Pick<
  Config,
  | 'data'
  | 'edges'
  | 'diskReserve'
  | 'logLevel'
  | 'quarantineBytes'
  | 'quarantineDays'
  | 'alarmWebhook'
> & {
  /** `store`: the edges are another server's. */
  readonly role?: Config['role'];
  /** Undefined: rows are moved to files when somebody asks for it only. */
  readonly archiveMinutes?: number | undefined;
  readonly compactionShare?: number | undefined;
  /** Undefined: if there are any, more are kept, and none go. */
  readonly rawDays?: number | undefined;
};

/** One core is left to the store. */
function edgesDefault(): number {
  // Elsewhere processes cannot share a port.
  if (!['linux', 'freebsd'].includes(process.platform)) return 1;
  return Math.min(edgesMax, Math.max(1, availableParallelism() - 1));
}

/** Where a server with edges alone has its store come to it. */
export function edgesSocket(data: string): string {
  return join(data, 'edges.sock');
}

const envPrefix = 'MILLRACE_';

export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function envOf(name: string): string {
  return envPrefix + name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

function snakeOf(name: string): string {
  return envOf(name).slice(envPrefix.length).toLowerCase();
}

/**
 * The values of some settings, frozen; `data` is made absolute.
 * @param given what was on the command line.
 * @throws BAD_SETTING for an unknown setting or a bad value anywhere
 */
export function readSettings<N extends SettingName>(
  names: readonly N[],
  given: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Values<N> {
  const fromEnv = readEnv(env);
  const path = (given.config ?? fromEnv.config) as string | undefined;
  const fromFile = path === undefined ? {} : readFile(path);
  const values: Record<string, unknown> = {};
  for (const name of names) {
    const [source, raw] =
      given[name] !== undefined
        ? [flagOf(name), given[name]]
        : fromEnv[name] !== undefined
          ? [envOf(name), fromEnv[name]]
          : [`${snakeOf(name)} in ${path}`, fromFile[name]];
    const read = settings[name].schema.safeParse(raw);
    if (!read.success) {
      const why = read.error.issues.map(({ message }) => message).join('; ');
      throw fault('BAD_SETTING', { seen: `${source} is ${JSON.stringify(raw)}: ${why}` });
    }
    values[name] = name === 'data' ? resolve(String(read.data)) : read.data;
  }
  return Object.freeze(values) as Values<N>;
}

/** Of this program, as its package says. */
export function version(): string {
  const file = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** The environment without settings of ours, for a server that is to have its own. */
export function bareEnvironment(env = process.env): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith(envPrefix)));
}

/** How the program was called, for printing commands that can be pasted. */
export function invocation(env = process.env): string {
  return env.npm_lifecycle_event === undefined ? 'millrace' : 'npm run -s millrace --';
}

function readEnv(env: Readonly<Record<string, string | undefined>>): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith(envPrefix)) continue;
    values[known(variable, variable.slice(envPrefix.length), envOf)] = value;
  }
  return values;
}

function readFile(path: string): Record<string, unknown> {
  let content: unknown;
  try {
    const source = readFileSync(path, 'utf8');
    content = path.endsWith('.json') ? JSON.parse(source) : parseToml(source);
  } catch (error) {
    const seen = `the config file ${path} cannot be read: ${messageOf(error)}`;
    throw fault('BAD_SETTING', { seen }, error);
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw fault('BAD_SETTING', { seen: `the config file ${path} holds no settings` });
  }
  const entries = Object.entries(content).map(([name, value]) => {
    return [known(`${name} in ${path}`, name, snakeOf), value];
  });
  return Object.fromEntries(entries) as Record<string, unknown>;
}

/** The setting that is meant; spelled with any of - _ or capitals. */
function known(source: string, spelled: string, show: (name: string) => string): SettingName {
  const plain = (name: string) => name.replace(/[-_]/g, '').toLowerCase();
  const names = Object.keys(settings) as SettingName[];
  const found = names.find((name) => plain(name) === plain(spelled));
  if (found) return found;
  const nearest = names.reduce((best, name) =>
    distance(plain(name), plain(spelled)) < distance(plain(best), plain(spelled)) ? name : best,
  );
  throw fault('BAD_SETTING', { seen: `unknown setting ${source}: did you mean ${show(nearest)}?` });
}

/** Levenshtein's edit distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(substitute, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1);
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
