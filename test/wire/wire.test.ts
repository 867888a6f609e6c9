import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as zlib from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RawConnection, type RawResponse } from '../support/raw-connection.ts';
import { createKey, millrace, temporaryDirectory, TestServer } from '../support/server.ts';

/*
 * The golden corpus: one case in each line of the .jsonl files beside this. Every request is sent
 * over a real socket; then its answer, its rows and its quarantine are looked at, and at the end
 * that nothing else was stored. In texts `{key}` is a good key, `{key:NAME}` another one, with `%`
 * at its end percent-encoded; `{now-60}` a minute ago; `{length}` the length of the body. Texts
 * between slashes are patterns.
 */

type Case = {
  readonly name: string;
  /** The request; its head ends with the empty line. */
  readonly request: string;
  /** What the body is encoded with before it is sent. */
  readonly encode?: keyof typeof encoders;
  /** The body, when it is no text. */
  readonly bodyBase64?: string;
  readonly answer: {
    readonly status: number;
    /** By lower-case name; null for one that must not be there. */
    readonly headers?: Readonly<Record<string, string | null>>;
    readonly body?: string;
    /** A pattern of the body, instead. */
    readonly match?: string;
  };
  readonly bodyBase64Answer?: string;
  /** Every row of a table, without what is NULL; `receipt` is the time of receipt. */
  readonly rows?: Readonly<Record<string, readonly Row[]>>;
  readonly quarantine?: readonly Readonly<Record<'table' | 'reason' | 'body', string>>[];
  /** Repeats that were counted, by table. */
  readonly duplicates?: Readonly<Record<string, number>>;
};

type Row = Readonly<Record<string, unknown>>;

const encoders = {
  gzip: (bytes: Buffer) => zlib.gzipSync(bytes),
  deflate: (bytes: Buffer) => zlib.deflateSync(bytes),
  'deflate-raw': (bytes: Buffer) => zlib.deflateRawSync(bytes),
  br: (bytes: Buffer) => zlib.brotliCompressSync(bytes),
  zstd: (bytes: Buffer) => zlib.zstdCompressSync(bytes),
};

/** Settings of the server that a file is for; none is the default. */
const settingsOf: Readonly<Record<string, readonly string[]>> = {
  strict: ['--strict'],
  'no-ids': ['--global-id', 'off'],
  settings: [
    '--redirect-hosts=shop.example,*.cdn.example',
    '--ssc-domains=shop.example',
    '--trusted-proxies=127.0.0.1,10.0.0.0/8',
  ],
};

const now = Math.floor(Date.now() / 1000);
const folder = fileURLToPath(new URL('.', import.meta.url));
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.jsonl'))
  .map((name) => name.replace('.jsonl', ''));

function casesOf(file: string): readonly Case[] {
  const lines = readFileSync(`${folder}${file}.jsonl`, 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Case);
}

/** Keys by their name in the corpus; the good one is ''. */
async function makeKeys(data: string): Promise<ReadonlyMap<string, string>> {
  const keys = new Map([
    ['', await createKey(data, '*')],
    ['elsewhere', await createKey(data, 'elsewhere')],
    ['strict', await createKey(data, 'elsewhere', ['--strict-key'])],
    ['origins', await createKey(data, '*', ['--origins', 'https://shop.example'])],
    ['revoked', await createKey(data, '*', ['--name', 'revoked'])],
  ]);
  await millrace(['keys', 'revoke', '--data', data, 'revoked']);
  return keys;
}

function filled(text: string, keys: ReadonlyMap<string, string>): string {
  return text
    .replace(/\{key(?::(\w+))?(%?)\}/g, (_, name = '', percent: string) => {
      const key = keys.get(name as string) ?? 'no such key';
      return percent ? encodeURIComponent(key) : key;
    })
    .replace(/\{now(?:-(\d+))?\}/g, (_, ago = '0') => String(now - Number(ago)));
}

function bytesOf(one: Case, keys: ReadonlyMap<string, string>): Buffer {
  const [head = '', ...rest] = filled(one.request, keys).split('\r\n\r\n');
  const text = one.bodyBase64 ?? Buffer.from(rest.join('\r\n\r\n')).toString('base64');
  const body = Buffer.from(text, 'base64');
  const sent = one.encode ? encoders[one.encode](body) : body;
  const filledHead = head.replace('{length}', String(sent.length));
  return Buffer.concat([Buffer.from(`${filledHead}\r\n\r\n`), sent]);
}

function headersOf({ head }: RawResponse): ReadonlyMap<string, string> {
  const lines = head.split('\r\n').slice(1);
  return new Map(
    lines.map((line) => {
      const at = line.indexOf(': ');
      return [line.slice(0, at).toLowerCase(), line.slice(at + 2)];
    }),
  );
}

/** Whether a value is what the corpus says; a text between slashes is a pattern. */
function expectValue(seen: unknown, wanted: unknown, where: string): void {
  const pattern = typeof wanted === 'string' ? /^\/(.*)\/$/.exec(wanted)?.[1] : undefined;
  if (pattern !== undefined) expect(seen, where).toMatch(new RegExp(pattern));
  else if (wanted === 'receipt') {
    expect(seen, where).toBeGreaterThanOrEqual(now);
    expect(seen, where).toBeLessThan(now + 600);
  } else if (typeof wanted === 'string' && wanted.startsWith('{now')) {
    expect(seen, where).toBe(Number(filled(wanted, new Map())));
  } else if (typeof wanted === 'string' && wanted.startsWith('"{now')) {
    expect(seen, where).toBe(filled(wanted.slice(1, -1), new Map()));
  } else expect(seen, where).toEqual(wanted);
}

function expectAnswer({ answer, bodyBase64Answer }: Case, seen: RawResponse | undefined): void {
  expect(seen?.status, seen?.body).toBe(answer.status);
  if (!seen) return;
  const headers = headersOf(seen);
  for (const [name, wanted] of Object.entries(answer.headers ?? {})) {
    expectValue(headers.get(name), wanted ?? undefined, name);
  }
  const body = Buffer.from(seen.body, 'latin1');
  if (answer.body !== undefined) expect(body.toString('utf8')).toBe(answer.body);
  if (answer.match !== undefined) expect(body.toString('utf8')).toMatch(new RegExp(answer.match));
  if (bodyBase64Answer !== undefined) expect(body.toString('base64')).toBe(bodyBase64Answer);
}

async function rowsOf(server: TestServer, table: string): Promise<readonly Row[]> {
  const sql = `SELECT * EXCLUDE (_receipt) FROM ${table} ORDER BY _receipt`;
  const rows = await server.query<Row>(sql);
  return rows.map((row) =>
    Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)),
  );
}

describe.each(files)('%s', (file) => {
  const cases = casesOf(file);
  const answers = new Map<string, RawResponse | undefined>();
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let server: TestServer;

  beforeAll(async () => {
    directory = await temporaryDirectory();
    const keys = await makeKeys(directory.path);
    server = await TestServer.start(directory.path, settingsOf[file] ?? []);
    for (const one of cases) {
      using connection = await RawConnection.open(server.ingest);
      connection.send(bytesOf(one, keys));
      answers.set(one.name, await connection.response(!one.request.startsWith('HEAD ')));
    }
    await server.flush();
  });

  afterAll(async () => {
    await server.kill();
    await directory.remove();
  });

  test.each(cases.map((one) => [one.name, one] as const))('%s', async (name, one) => {
    expectAnswer(one, answers.get(name));
    for (const [table, wanted] of Object.entries(one.rows ?? {})) {
      const rows = await rowsOf(server, table);
      const columns = (all: readonly Row[]) => all.map((row) => Object.keys(row).toSorted());
      expect(columns(rows)).toEqual(columns(wanted));
      for (const [index, row] of wanted.entries()) {
        for (const [column, value] of Object.entries(row)) {
          expectValue(rows[index]?.[column], value, `${table}.${column}`);
        }
      }
    }
    for (const [name_, wanted] of Object.entries(one.duplicates ?? {})) {
      const [database, table] = name_.split('.');
      const sql = `SELECT duplicates AS n FROM millrace.tables
        WHERE "database" = '${database}' AND "table" = '${table}'`;
      expect(await server.query(sql)).toEqual([{ n: wanted }]);
    }
  });

  test('and nothing else', async () => {
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
    const wanted = cases.flatMap(({ rows }) =>
      Object.entries(rows ?? {}).map(([name, all]) => ({ name, rows: all.length })),
    );
    const tables = await server.query<{ name: string; rows: number }>(
      `SELECT "database" || '.' || "table" AS name, rows FROM millrace.tables`,
    );
    const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
    expect(tables.toSorted(byName)).toEqual(wanted.toSorted(byName));
    const quarantine = await server.query(
      'SELECT "table", reason, body FROM millrace.quarantine ORDER BY receipt',
    );
    expect(quarantine).toEqual(cases.flatMap((one) => one.quarantine ?? []));
  });
});
