import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from './support/eventually.ts';
import { audit, Ledger, promiseKept, Senders } from './support/senders.ts';
import { createKey, millrace, query, temporaryDirectory, TestServer } from './support/server.ts';

const repository = fileURLToPath(new URL('..', import.meta.url));

describe('serve', () => {
  test('says in one line that it is ready; SIGTERM drains it and loses nothing', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const key = await createKey(data, 'shop');
    await using server = await TestServer.start(data, ['--edges', '2']);
    const tables = ['shop/orders', 'shop/visits'];
    const ledger = new Ledger();
    const load = { ingest: server.ingest, key, tables, ledger };
    await using senders = new Senders({ ...load, connections: 16, padBytes: () => 100 });
    await senders.firstAcknowledged;
    await sleep(300);
    expect(await server.stop()).toBe(0);
    await senders.stop();

    const { ingest, admin } = server;
    expect(server.stdout()).toBe(`millrace is ready: ingest ${ingest} admin ${admin}\n`);
    expect(ledger.acknowledged.size).toBeGreaterThan(16);
    expect(await audit(data, tables, ledger)).toEqual(promiseKept);
  });

  test('SIGTERM to npm, as a service manager sends it, drains it too', async () => {
    await using directory = await temporaryDirectory();
    const args = ['run', '-s', 'millrace', '--', 'serve', '--data', directory.path];
    const child = spawn('npm', [...args, '--port', '0', '--admin-port', '0'], { cwd: repository });
    const output = { stdout: '', stderr: '' };
    child.stdout.on('data', (text: Buffer) => (output.stdout += text.toString()));
    child.stderr.on('data', (text: Buffer) => (output.stderr += text.toString()));
    await eventually('it is ready', () => Promise.resolve(output.stdout.includes('is ready')));
    child.kill('SIGTERM');
    await eventually('it drains', () => Promise.resolve(output.stderr.includes('"drained"')));
  });

  test.each([
    [['--port', '8090', '--admin-port', '8090'], '--port and --admin-port are both 8090'],
    [['--host', '300.1.1.1'], 'cannot listen on 300.1.1.1'],
    [['--data', 'package.json'], 'package.json cannot be made'],
    [['--log-level', 'loud'], 'expected one of debug, info, warn, error'],
  ])('%s is an error without a stack trace', async (args, message) => {
    await using directory = await temporaryDirectory();
    const ran = await millrace(['serve', '--data', directory.path, '--port', '0', ...args]);
    expect(ran.code).toBe(1);
    expect(ran.stderr).toContain(message);
    expect(ran.stderr).not.toMatch(/^ +at /m);
  });

  test('its folders are for its user alone', async () => {
    await using directory = await temporaryDirectory();
    const data = join(directory.path, 'data');
    await using server = await TestServer.start(data);
    for (const name of ['.', 'log', 'log/0', 'store']) {
      expect((await stat(join(server.data, name))).mode & 0o077, name).toBe(0);
    }
  });

  test('status shows the rest when the keys cannot be read', async () => {
    await using directory = await temporaryDirectory();
    await using server = await TestServer.start(directory.path);
    await writeFile(join(directory.path, 'keys.json'), '{');
    const ran = await millrace(['status', '--data', server.data, '--json']);
    expect(ran.code).toBe(0);
    expect(JSON.parse(ran.stdout)).toMatchObject({
      tables: [],
      keysError: expect.stringContaining('keys.json'),
    });
  });

  test('events are taken while the keys cannot be read, and loaded when they can', async () => {
    await using directory = await temporaryDirectory();
    const keys = join(directory.path, 'keys.json');
    const key = await createKey(directory.path, 'shop');
    await rename(keys, `${keys}.kept`);
    await mkdir(`${keys}.folder`);
    await symlink(`${keys}.folder`, keys);
    await using server = await TestServer.start(directory.path);
    const headers = { 'X-TD-Write-Key': key };
    expect((await server.post('shop/orders', { id: 1 }, headers)).status).toBe(200);
    // In one step: were there no file for a moment, there were no keys either.
    await rename(`${keys}.kept`, keys);
    await server.flush();
    expect(await server.query('SELECT id FROM shop.orders')).toEqual([{ id: 1 }]);
    expect(server.stderr()).not.toContain('a process ended');
  });

  test('refuses a data directory that another server holds, and names it', async () => {
    await using directory = await temporaryDirectory();
    await using server = await TestServer.start(directory.path);
    const ports = ['--port', '0', '--admin-port', '0'];
    const ran = await millrace(['serve', '--data', directory.path, ...ports]);
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toContain(`process id ${server.process.pid}`);
    // The one that holds it is not disturbed.
    expect((await fetch(`${server.admin}/readyz`)).status).toBe(200);
  });

  test.each([
    ['--port', '--admin-port'],
    ['--admin-port', '--port'],
  ])('says which port is in use: %s', async (taken, free) => {
    await using directory = await temporaryDirectory();
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const ports = [taken, String(port), free, '0'];
    const ran = await millrace(['serve', '--data', directory.path, ...ports]);
    other.close();
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toContain(`127.0.0.1:${port} is in use`);
    expect(ran.stderr).toContain(taken);
  });
});

describe('keys', () => {
  test('a key is shown once and kept as a hash', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const scope = ['--database', 'shop', '--table', 'orders', '--name', 'web shop'];
    const made = await millrace(['keys', 'create', '--data', data, ...scope, '--json']);
    expect(made).toMatchObject({ code: 0, stderr: '' });
    const { key, id } = JSON.parse(made.stdout) as { key: string; id: string };
    expect(key).toMatch(/^1\/[0-9a-f]{40}$/);
    expect(id).toMatch(/^k_[0-9a-f]+$/);

    const listed = await millrace(['keys', 'list', '--data', data, '--json']);
    const entry = { id, name: 'web shop', database: 'shop', table: 'orders' };
    expect(JSON.parse(listed.stdout)).toEqual([expect.objectContaining(entry)]);
    const drawn = await millrace(['keys', 'list', '--data', data]);
    expect(drawn.stdout).toMatch(new RegExp(`${id} +web shop +shop\\.orders .*in force`));
    const kept = await readFile(join(data, 'keys.json'), 'utf8');
    for (const text of [kept, listed.stdout, drawn.stdout]) {
      expect(text).not.toContain(key.slice(2));
    }
  });

  test('need a database, and know no key that is not there', async () => {
    await using directory = await temporaryDirectory();
    const at = ['--data', directory.path];
    expect(await millrace(['keys', 'create', ...at])).toMatchObject({ code: 1, stdout: '' });
    const revoked = await millrace(['keys', 'revoke', ...at, 'nobody']);
    expect(revoked).toMatchObject({ code: 1, stdout: '' });
    expect(revoked.stderr).toContain('nobody');
  });

  test('have rules of their own, which the list shows', async () => {
    await using directory = await temporaryDirectory();
    const at = ['--data', directory.path];
    const rules = ['--origins', 'https://a.example, https://b.example:8443', '--strict-key'];
    await createKey(directory.path, 'shop', rules);
    const { stdout } = await millrace(['keys', 'list', ...at]);
    expect(stdout).toContain('strict https://a.example https://b.example:8443');
    for (const bad of ['a.example', 'https://a.example/', 'HTTPS://A.example', 'null']) {
      const create = ['keys', 'create', ...at, '--database', 'shop', '--origins', bad];
      const refused = await millrace(create);
      expect(refused).toMatchObject({ code: 1, stdout: '' });
      expect(refused.stderr).toContain(bad);
    }
  });

  test('rules are in force at once, without a restart', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    await using server = await TestServer.start(data);
    const statusOf = async (key: string, headers: Record<string, string> = {}) =>
      (await server.post('shop/orders', {}, { 'X-TD-Write-Key': key, ...headers })).status;
    const page = await createKey(data, 'shop', ['--origins', 'https://shop.example']);
    expect(await statusOf(page, { Origin: 'https://evil.example' })).toBe(403);
    const strict = await createKey(data, 'shop', ['--strict-key', '--name', 'strict']);
    expect(await statusOf(strict)).toBe(200);
    await millrace(['keys', 'revoke', '--data', data, 'strict']);
    expect(await statusOf(strict)).toBe(401);
  });

  test('are in force at once, made with or without a server; revoked ones are not', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const early = await createKey(data, 'shop');
    await using server = await TestServer.start(data);
    const late = await createKey(data, 'shop');
    await sendAll(server, [
      { key: early, path: 'shop/orders', body: '{"n":1}' },
      { key: late, path: 'shop/orders', body: '{"n":2}' },
      { key: late, path: 'other/orders', body: '{"n":3}' },
      { key: '1/unknown', path: 'shop/orders', body: '{ "n" : 4.0 }' },
    ]);
    const [lateEntry] = (await keysOf(data)).slice(1);
    const revoked = await millrace(['keys', 'revoke', '--data', data, lateEntry?.id ?? '']);
    expect(revoked.code).toBe(0);
    await sendAll(server, [
      { key: early, path: 'shop/orders', body: '{"n":5}' },
      { key: late, path: 'shop/orders', body: '{"n": 6, "at":"é"}' },
    ]);

    const rows = await query(data, 'SELECT n FROM shop.orders ORDER BY n');
    expect(rows).toEqual([{ n: 1 }, { n: 2 }, { n: 5 }]);
    const quarantined = await query(
      data,
      'SELECT "database", "table", reason, body FROM millrace.quarantine ORDER BY received_at',
    );
    expect(quarantined).toEqual([
      { database: 'other', table: 'orders', reason: 'key_not_allowed', body: '{"n":3}' },
      { database: 'shop', table: 'orders', reason: 'unknown_key', body: '{ "n" : 4.0 }' },
      { database: 'shop', table: 'orders', reason: 'key_revoked', body: '{"n": 6, "at":"é"}' },
    ]);
    expect(await keysOf(data)).toMatchObject([{}, { revokedAt: expect.any(String) }]);
  });
});

describe.each(['a running server', 'a closed directory'])(
  'query, flush and status on %s',
  (kind) => {
    const isClosed = kind === 'a closed directory';
    let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
    let server: TestServer;

    beforeAll(async () => {
      directory = await temporaryDirectory();
      const key = await createKey(directory.path, 'shop');
      server = await TestServer.start(directory.path);
      await sendAll(server, [
        { key, path: 'shop/orders', body: '{"id":9007199254740993,"n":1,"name":"a, \\"b\\""}' },
        { key, path: 'shop/orders', body: '{"id":2,"n":2,"name":"","note":{"x":[1]}}' },
      ]);
      if (isClosed) expect(await server.stop()).toBe(0);
    });

    afterAll(async () => {
      await server.kill();
      await directory.remove();
    });

    const sql = 'SELECT id, n, name, note FROM shop.orders ORDER BY n';
    const run = (args: readonly string[], input?: string) => {
      const [command = '', ...rest] = args;
      const options = input === undefined ? {} : { input };
      return millrace([command, '--data', directory.path, ...rest], options);
    };

    test('json keeps 64-bit integers exact, as text where a number would round', async () => {
      const rows = [
        { id: '9007199254740993', n: 1, name: 'a, "b"', note: null },
        { id: 2, n: 2, name: '', note: '{"x":[1]}' },
      ];
      const json = await run(['query', '--format', 'json', sql]);
      expect(json).toMatchObject({ code: 0, stderr: '' });
      expect(JSON.parse(json.stdout)).toEqual(rows);
      expect((await run(['query', '--json', sql])).stdout).toBe(json.stdout);
      const ndjson = await run(['query', '--format', 'ndjson', sql]);
      const lines = ndjson.stdout.trimEnd().split('\n');
      expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(rows);
    });

    test('csv quotes what must be quoted; NULL is not the empty text', async () => {
      const csv = await run(['query', '--format', 'csv', sql]);
      expect(csv.stdout).toBe(
        'id,n,name,note\r\n9007199254740993,1,"a, ""b""",\r\n2,2,"","{""x"":[1]}"\r\n',
      );
    });

    test('a table is the default', async () => {
      const { stdout } = await run(['query', sql]);
      const [head, , first, , count] = stdout.split('\n');
      expect(head).toMatch(/^id +n +name +note$/);
      expect(first).toMatch(/^9007199254740993 +1 +a, "b"$/);
      const complete = isClosed ? 'everything' : String.raw`\d{4}-\d\d-\d\dT\S+Z`;
      expect(count).toMatch(new RegExp(`^\\(2 rows; complete to ${complete}\\)$`));
    });

    test('the SQL comes from a file or from standard input', async () => {
      const file = join(directory.path, 'question.sql');
      await writeFile(file, 'SELECT count(*) AS n\nFROM shop.orders;\n');
      const fromFile = await run(['query', '--format', 'ndjson', '--file', file]);
      expect(fromFile).toEqual({ code: 0, stdout: '{"n":2}\n', stderr: '' });
      const input = 'SELECT sum(n) AS n FROM shop.orders';
      const fromInput = await run(['query', '--format', 'ndjson', '--file', '-'], input);
      expect(fromInput).toEqual({ code: 0, stdout: '{"n":3}\n', stderr: '' });
      for (const unclear of [['query'], ['query', '--file', file, 'SELECT 1']]) {
        expect(await run(unclear)).toMatchObject({ code: 1, stdout: '' });
      }
    });

    test.each([
      'INSERT INTO shop.orders SELECT * FROM shop.orders',
      'DELETE FROM mr.hot_1',
      'UPDATE mr.hot_1 SET n = 0',
      'CREATE TABLE shop.mine AS SELECT 1',
      'DROP VIEW shop.orders',
      "COPY (SELECT 1) TO '/tmp/millrace-copied.csv'",
      "ATTACH ':memory:' AS other",
      'SET threads = 1',
      'PRAGMA threads = 1',
      'SELECT 1; SELECT 2',
      'SELECT 1; DROP VIEW shop.orders',
      'EXPLAIN ANALYZE DELETE FROM mr.hot_1',
      "SELECT * FROM read_text('/etc/hostname')",
      'CHECKPOINT',
      'no SQL at all',
      '',
    ])('refuses: %s', async (refused) => {
      const ran = await run(['query', '--format', 'json', refused]);
      expect(ran.code).toBe(1);
      expect(ran.stdout).toBe('');
      expect(ran.stderr).toMatch(/^millrace: /);
      expect(existsSync('/tmp/millrace-copied.csv')).toBe(false);
    });

    test('after all that was refused, everything is as it was', async () => {
      const rows = await query(directory.path, 'SELECT sum(n)::INTEGER AS n FROM shop.orders');
      expect(rows).toEqual([{ n: 3 }]);
    });

    test('flush says that it is done', async () => {
      expect(await run(['flush'])).toMatchObject({ code: 0, stderr: '' });
      const { stdout } = await run(['flush', '--json']);
      expect(JSON.parse(stdout)).toEqual({ status: 'flushed' });
    });

    test('status counts rows, and says whether a server runs', async () => {
      const { code, stdout } = await run(['status', '--json']);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        server: isClosed ? null : { pid: server.process.pid, ingest: server.ingest },
        tables: [{ database: 'shop', table: 'orders', rows: 2, columns: 4 }],
        waiting: { bytes: 0, failing: false },
        quarantinedEvents: 0,
        keysInForce: 1,
      });
      expect((await run(['status'])).stdout).toMatch(/shop\.orders +2 +4/);
    });
  },
);

test('commands on a folder without data say so', async () => {
  await using directory = await temporaryDirectory();
  for (const command of [['query', 'SELECT 1'], ['flush'], ['status']]) {
    const ran = await millrace([...command, '--data', directory.path]);
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toContain(directory.path);
  }
});

describe('settings', () => {
  test('a setting that nobody knows is an error that says which one is meant', async () => {
    await using directory = await temporaryDirectory();
    const list = ['keys', 'list', '--data', directory.path];
    const toml = join(directory.path, 'c.toml');
    const json = join(directory.path, 'c.json');
    await writeFile(toml, 'admin_prot = 8081\n');
    await writeFile(json, '{"disk_reserv": 1}');
    const cases = [
      { ran: await millrace([...list, '--jsn']), meant: '--json' },
      { ran: await millrace(list, { env: { MILLRACE_EDGE: '2' } }), meant: 'MILLRACE_EDGES' },
      { ran: await millrace([...list, '--config', toml]), meant: 'admin_port' },
      { ran: await millrace(list, { env: { MILLRACE_CONFIG: json } }), meant: 'disk_reserve' },
    ];
    for (const { ran, meant } of cases) {
      expect(ran).toMatchObject({ code: 1, stdout: '' });
      expect(ran.stderr).toMatch(new RegExp(`[Dd]id you mean ${meant}\\?`));
    }
  });

  test('bad values are errors that name where they stand', async () => {
    await using directory = await temporaryDirectory();
    const toml = join(directory.path, 'c.toml');
    await writeFile(toml, 'port = "many"\n');
    const serve = ['serve', '--data', directory.path];
    const anyPorts = ['--port', '0', '--admin-port', '0'];
    const cases = [
      { ran: await millrace([...serve, '--port', '65536']), names: '--port' },
      { ran: await millrace(serve, { env: { MILLRACE_PORT: '-1' } }), names: 'MILLRACE_PORT' },
      { ran: await millrace([...serve, '--config', toml]), names: `port in ${toml}` },
      { ran: await millrace([...serve, '--config', '/nowhere.toml']), names: '/nowhere.toml' },
      { ran: await millrace([...serve, '--global-id', 'maybe']), names: '--global-id' },
      {
        ran: await millrace([...serve, '--redirect-hosts', 'https://shop.example']),
        names: 'without https://',
      },
      {
        ran: await millrace([...serve, ...anyPorts, '--trusted-proxies', '10.0.0.0/33']),
        names: '10.0.0.0/33',
      },
    ];
    for (const { ran, names } of cases) {
      expect(ran).toMatchObject({ code: 1, stdout: '' });
      expect(ran.stderr).toContain(names);
    }
  });

  test('a flag wins over the environment, that over the file, that over the default', async () => {
    await using directory = await temporaryDirectory();
    const inside = (name: string) => join(directory.path, name);
    for (const name of ['flag', 'variable', 'file']) await createKey(inside(name), name);
    const [toml, json] = [inside('c.toml'), inside('c.json')];
    await writeFile(toml, `data = '${inside('file')}'\nformat = "ndjson"\n`);
    await writeFile(json, JSON.stringify({ data: inside('file') }));
    const databaseSeen = async (args: readonly string[], env: Record<string, string> = {}) => {
      const { stdout } = await millrace(['keys', 'list', '--json', ...args], { env });
      return (JSON.parse(stdout) as { database: string }[]).map(({ database }) => database);
    };
    const env = { MILLRACE_DATA: inside('variable'), MILLRACE_CONFIG: toml };
    expect(await databaseSeen(['--data', inside('flag')], env)).toEqual(['flag']);
    expect(await databaseSeen([], env)).toEqual(['variable']);
    expect(await databaseSeen(['--config', toml])).toEqual(['file']);
    expect(await databaseSeen([], { MILLRACE_CONFIG: json })).toEqual(['file']);

    await using server = await TestServer.start(inside('file'));
    const shown = async (args: readonly string[], more: Record<string, string> = {}) => {
      const at = ['--data', server.data, 'SELECT 1 AS n'];
      return (await millrace(['query', ...args, ...at], { env: more })).stdout;
    };
    const csvByEnv = { MILLRACE_FORMAT: 'csv', MILLRACE_CONFIG: toml };
    expect(await shown(['--format', 'json'], csvByEnv)).toBe('[\n{"n":1}\n]\n');
    expect(await shown([], csvByEnv)).toBe('n\r\n1\r\n');
    expect(await shown(['--config', toml])).toBe('{"n":1}\n');
    expect(await shown([])).toMatch(/^n\n─\n1\n\(1 row/);
  });
});

test.each([
  '',
  'serve',
  'keys',
  'keys create',
  'keys import',
  'keys rotate',
  'keys change',
  'keys list',
  'keys revoke',
  'query',
  'flush',
  'status',
  'backup',
  'backup verify',
  'restore',
  'selftest crash',
  'storage-check',
])('millrace %s --help gives examples', async (command) => {
  const ran = await millrace([...command.split(' ').filter(Boolean), '--help']);
  expect(ran).toMatchObject({ code: 0, stderr: '' });
  expect(ran.stdout).toMatch(new RegExp(`\nExamples:\n +millrace ${command}`));
});

const systemNode = '/usr/bin/node';

test.skipIf(systemNodeMajor() >= 22)(
  `a wrong runtime gets one clear line (needs a ${systemNode} before 22)`,
  async () => {
    const ran = await millrace(['status'], { node: systemNode });
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toMatch(/^millrace needs Node\.js 22\.18 or newer.*\n$/);
  },
);

function systemNodeMajor(): number {
  try {
    const version = execFileSync(systemNode, ['--version'], { encoding: 'utf8' });
    return parseInt(version.slice(1), 10);
  } catch {
    return Infinity;
  }
}

type Sent = { readonly key: string; readonly path: string; readonly body: string };

/** Sends events one after another and waits until they are loaded. */
async function sendAll(server: TestServer, events: readonly Sent[]): Promise<void> {
  for (const { key, path, body } of events) {
    const response = await server.post(path, body, { 'X-TD-Write-Key': key });
    expect(response.status).toBe(200);
  }
  await server.flush();
}

async function keysOf(data: string): Promise<readonly { id: string; revokedAt?: string }[]> {
  const { stdout } = await millrace(['keys', 'list', '--data', data, '--json']);
  return JSON.parse(stdout) as { id: string; revokedAt?: string }[];
}
