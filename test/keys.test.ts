import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { eventually } from './support/eventually.ts';
import type { KeyEntry } from '../src/keys/index.ts';
import { createKey, millrace, type Ran, temporaryDirectory, TestServer } from './support/server.ts';

const elsewhere = '12345/0123456789abcdef0123456789abcdef01234567';

/** Runs `keys …` on a directory. */
function keysOn(data: string) {
  return (args: readonly string[], input?: string): Promise<Ran> => {
    const [command = '', ...rest] = args;
    const options = input === undefined ? {} : { input };
    return millrace(['keys', command, '--data', data, ...rest], options);
  };
}

async function entriesOf(data: string): Promise<readonly KeyEntry[]> {
  const { keys } = JSON.parse(await readFile(join(data, 'keys.json'), 'utf8')) as {
    keys: readonly KeyEntry[];
  };
  return keys;
}

/** Changes the first key as an editor would. */
async function edit(data: string, change: Partial<KeyEntry>): Promise<void> {
  const [first, ...others] = await entriesOf(data);
  const keys = [{ ...first, ...change }, ...others];
  await writeFile(join(data, 'keys.json'), JSON.stringify({ keys }));
}

/** Everything below a directory, as text. */
async function contentOf(directory: string): Promise<string> {
  const names = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = names.filter((name) => name.isFile());
  const texts = files.map(({ parentPath, name }) => readFile(join(parentPath, name), 'latin1'));
  return (await Promise.all(texts)).join('\n');
}

async function send(server: TestServer, key: string, path: string, body: unknown): Promise<number> {
  return (await server.post(path, body, { 'X-TD-Write-Key': key })).status;
}

const failures = 'SELECT "database", "table", reason, body FROM millrace.quarantine ORDER BY body';

describe('with a server', () => {
  test('what is received from the end of a key on goes to quarantine', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    await using server = await TestServer.start(data);
    const expiresAtMs = Date.now() + 4_000;
    const expires = new Date(expiresAtMs).toISOString();
    const key = await createKey(data, 'shop', ['--expires', expires]);
    expect(await send(server, key, 'shop/orders', { id: 1 })).toBe(200);
    await sleep(expiresAtMs - Date.now() + 1);
    expect(await send(server, key, 'shop/orders', '{"id":2}')).toBe(200);
    await server.flush();
    expect(await server.query('SELECT id FROM shop.orders')).toEqual([{ id: 1 }]);
    const parked = { database: 'shop', table: 'orders', reason: 'key_expired', body: '{"id":2}' };
    expect(await server.query(failures)).toEqual([parked]);
    const raised = await server.query('SELECT reason, events FROM millrace.auth_failures');
    expect(raised).toEqual([{ reason: 'key_expired', events: 1 }]);
    expect(server.stderr()).toMatch(/"reason":"key_expired".*authentication failure/);
    const dryRun = await fetch(`${server.ingest}/debug/postback/v3/event/shop/orders`, {
      method: 'POST',
      headers: { 'X-TD-Write-Key': key },
      body: '{}',
    });
    expect(await dryRun.json()).toMatchObject({
      events: [
        {
          becomes: 'quarantine',
          key: 'key_expired',
          warnings: expect.arrayContaining(['this write key has expired']) as unknown,
        },
      ],
    });
    const { stdout } = await millrace(['status', '--data', data, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ keysInForce: 0 });
  });

  test('an expired key is a 401 in strict mode', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const key = await createKey(data, 'shop', ['--strict-key']);
    await using server = await TestServer.start(data);
    expect(await send(server, key, 'shop/orders', {})).toBe(200);
    await edit(data, { expiresAt: '2026-01-01T00:00:00Z' });
    const headers = { 'X-TD-Write-Key': key };
    const refused = await server.post('shop/orders', {}, headers);
    expect(refused.status).toBe(401);
    expect(await refused.text()).toContain('this write key has expired');
  });

  test('a scope may be a pattern', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const key = await createKey(data, 'Shop_*', ['--table', '*_v2']);
    await using server = await TestServer.start(data);
    for (const path of ['shop_eu/orders_v2', 'shop_us/carts_v2', 'shop_eu/orders', 'shop/a_v2']) {
      expect(await send(server, key, path, {})).toBe(200);
    }
    await server.flush();
    const tables = 'SELECT "database", "table" FROM millrace.tables ORDER BY ALL';
    expect(await server.query(tables)).toEqual([
      { database: 'shop_eu', table: 'orders_v2' },
      { database: 'shop_us', table: 'carts_v2' },
    ]);
    const refused = 'SELECT "database", "table", reason FROM millrace.quarantine ORDER BY ALL';
    expect(await server.query(refused)).toEqual([
      { database: 'shop', table: 'a_v2', reason: 'key_not_allowed' },
      { database: 'shop_eu', table: 'orders', reason: 'key_not_allowed' },
    ]);
  });

  test('after a rotation both keys work, until the old one is revoked', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const keys = keysOn(data);
    const old = await createKey(data, 'shop', ['--name', 'web', '--strict-key']);
    await using server = await TestServer.start(data);
    const rotated = await keys(['rotate', 'web', '--expires-old', '7d', '--json']);
    const made = JSON.parse(rotated.stdout) as { key: string; id: string; old: KeyEntry };
    expect(made).toMatchObject({ name: 'web', database: 'shop', strict: true });
    expect(Date.parse(made.old.expiresAt ?? '') - Date.now()).toBeGreaterThan(6.9 * 86_400_000);
    for (const key of [old, made.key]) expect(await send(server, key, 'shop/orders', {})).toBe(200);

    const unclear = await keys(['revoke', 'web']);
    expect(unclear).toMatchObject({ code: 1, stdout: '' });
    expect(unclear.stderr).toContain(`${made.old.id}, ${made.id}`);
    expect(await keys(['revoke', made.old.id])).toMatchObject({ code: 0 });
    expect(await send(server, old, 'shop/orders', {})).toBe(401);
    expect(await send(server, made.key, 'shop/orders', {})).toBe(200);
    await server.flush();
    const count = 'SELECT count(*) AS n FROM shop.orders';
    expect(await server.query(count)).toEqual([{ n: 3 }]);
  });

  test('an imported key makes rows, and is nowhere in clear', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const keys = keysOn(data);
    await using server = await TestServer.start(data, ['--log-level', 'debug']);
    expect(await send(server, elsewhere, 'shop/orders', '{"id":1}')).toBe(200);
    await server.flush();
    const scope = ['import', '--database', 'shop', '--name', 'partner'];
    const taken = await keys(scope, `${elsewhere}\n`);
    expect(taken).toMatchObject({ code: 0, stderr: '' });
    const again = await keys(scope, elsewhere);
    expect(again).toMatchObject({ code: 1, stdout: '' });
    const [entry] = await entriesOf(data);
    expect(again.stderr).toContain(`in force already: ${entry?.id}`);
    expect(await send(server, elsewhere, 'shop/orders', '{"id":2}')).toBe(200);
    await server.flush();
    const rows = 'SELECT id FROM shop.orders ORDER BY _receipt';
    await eventually('both rows', async () => (await server.query(rows)).length === 2);
    expect(await server.query(rows)).toEqual([{ id: 1 }, { id: 2 }]);

    const mistaken = [
      await keys(['revoke', elsewhere]),
      await keys(['rotate', elsewhere]),
      await keys(['change', elsewhere, '--expires', '1d']),
      await keys(['import', elsewhere, '--database', 'shop']),
      await keys(['import', '--database', 'shop', '--from-fingerprint', elsewhere]),
      await keys(scope, `${elsewhere} ${elsewhere}`),
    ];
    for (const ran of mistaken) expect(ran).toMatchObject({ code: 1, stdout: '' });
    const said = [taken, again, ...mistaken, await keys(['list']), await keys(['list', '--json'])];
    const texts = said.flatMap(({ stdout, stderr }) => [stdout, stderr]);
    for (const text of [...texts, server.stdout(), server.stderr(), await contentOf(data)]) {
      expect(text).not.toContain(elsewhere);
    }
  });
});

describe('commands', () => {
  test('a revoked key that is imported comes back under its id', async () => {
    await using directory = await temporaryDirectory();
    const keys = keysOn(directory.path);
    await keys(['import', '--database', 'shop', '--name', 'partner'], elsewhere);
    const [before] = await entriesOf(directory.path);
    await keys(['revoke', 'partner']);
    const back = await keys(['import', '--database', 'other', '--expires', '12h'], elsewhere);
    expect(back.stdout).toContain(`${before?.id} was revoked and is brought back`);
    const [after] = await entriesOf(directory.path);
    expect(after).toEqual({ ...before, database: 'other', expiresAt: expect.any(String) });
    await edit(directory.path, { expiresAt: '2026-01-01T00:00:00Z' });
    const json = await keys(['import', '--database', 'shop', '--json'], `${elsewhere}\r\n`);
    expect(JSON.parse(json.stdout)).toEqual({ ...before, broughtBack: true });
    expect(await entriesOf(directory.path)).toEqual([before]);
  });

  test.each([
    ['nothing', '', 'no key on standard input'],
    ['an empty line', '\n', 'no key on standard input'],
    ['a space inside', '1/ab cd', 'no white space'],
    ['two lines', '1/abcd\n1/abce\n', 'no white space'],
    ['a space before', ' 1/abcd', 'no white space'],
    ['another alphabet', '1/ábcd', 'ASCII'],
    ['what is too long', 'a'.repeat(257), '257 bytes, at most 256'],
    ['what is much too long', 'a'.repeat(50_000), 'at most 256'],
  ])('%s is no key to import', async (_, input, reason) => {
    await using directory = await temporaryDirectory();
    const ran = await keysOn(directory.path)(['import', '--database', 'shop'], input);
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toContain(reason);
    expect(ran.stderr).not.toContain('abc');
    expect(await readdir(directory.path)).toEqual([]);
  });

  test('a key of 256 bytes can be imported', async () => {
    await using directory = await temporaryDirectory();
    const run = keysOn(directory.path);
    const ran = await run(['import', '--database', 'shop'], `${'a'.repeat(256)}\n`);
    expect(ran).toMatchObject({ code: 0, stderr: '' });
  });

  test.each([
    [['create', '--database', 'shop', '--from-fingerprint', 'ab12'], 'a fingerprint is not a key'],
    [['import', '--database', 'shop', '--from-fingerprint', 'ab12'], 'a fingerprint is not a key'],
    [['import'], '--database is missing'],
    [['create', '--database', 'shop-*'], 'bad database pattern "shop-*"'],
    [['create', '--database', 'shop', '--table', '*.*'], 'bad table pattern "*.*"'],
    [['create', '--database', 'main'], 'reserved'],
    [['create', '--database', 'shop', '--origins', ','], 'names no origin'],
    [['create', '--database', 'shop', '--expires', '90'], 'expected a time from now such as 90d'],
    [['create', '--database', 'shop', '--expires', '0d'], 'expected a time from now such as 90d'],
    [['create', '--database', 'shop', '--expires', '2020-01-01T00:00:00Z'], 'is in the past'],
    [['create', '--database', 'shop', 'orders'], 'too many arguments: 1'],
    [['change', 'web'], 'nothing to change'],
    [['change', 'web', '--expires', '1d'], 'no key in force with the id or name "web"'],
    [['rotate', 'web'], 'no key in force with the id or name "web"'],
    [['rotate', 'web', '--expires-old', 'soon'], '--expires-old is "soon": expected'],
    [['revoke', 'web', '--data', 'no/such/folder'], 'no data directory'],
  ])('keys %j is refused: %s', async (args, reason) => {
    await using directory = await temporaryDirectory();
    const ran = await keysOn(directory.path)(args);
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toContain(reason);
    expect(ran.stderr).not.toMatch(/^ +at /m);
  });

  test('change sets scope, origins, end and name of one key', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const keys = keysOn(data);
    await createKey(data, 'shop', ['--name', 'web', '--table', 'orders']);
    const [before] = await entriesOf(data);
    const scope = ['--database', 'shop_*', '--table', '*'];
    const rules = ['--origins', 'https://a.example', '--expires', '2099-01-01T00:00:00+01:00'];
    const ran = await keys(['change', 'web', ...scope, ...rules, '--name-new', 'page', '--json']);
    const { table: _, ...rest } = before ?? ({} as KeyEntry);
    const wider = { ...rest, name: 'page', database: 'shop_*' };
    const origins = ['https://a.example'];
    const changed = { ...wider, origins, expiresAt: '2098-12-31T23:00:00.000Z' };
    expect(JSON.parse(ran.stdout)).toEqual(changed);
    expect(await entriesOf(data)).toEqual([changed]);
    const drawn = await keys(['change', 'page', '--origins', '*', '--expires', 'never']);
    expect(drawn.stdout).toBe(`The key ${before?.id} may write to shop_*.*.\n`);
    expect(await entriesOf(data)).toEqual([wider]);
  });

  test('revoke --all takes every key of a name, and no other', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const keys = keysOn(data);
    for (const name of ['web', 'web', 'other']) await createKey(data, 'shop', ['--name', name]);
    const [first, second] = await entriesOf(data);
    expect((await keys(['change', 'web', '--expires', '1d'])).stderr).toContain(second?.id);
    const ran = await keys(['revoke', 'web', '--all']);
    expect(ran.stdout).toBe(`revoked ${first?.id} (web)\nrevoked ${second?.id} (web)\n`);
    const states = (await entriesOf(data)).map(({ revokedAt }) => revokedAt !== undefined);
    expect(states).toEqual([true, true, false]);
  });

  test('list shows the state of each key', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const keys = keysOn(data);
    await createKey(data, 'one');
    await createKey(data, 'two', ['--expires', '2099-01-01T00:00:00Z']);
    await createKey(data, 'three', ['--name', 'three']);
    await createKey(data, 'four');
    await keys(['revoke', 'three']);
    await edit(data, { expiresAt: '2026-01-01T00:00:00Z' });
    const { stdout } = await keys(['list']);
    const [head, , one, two, three, four] = stdout.split('\n');
    expect(head).toMatch(
      /^id +name +may write to +created +state +last used +events +rules +fingerprint$/,
    );
    expect(one).toContain(' expired 2026-01-01T00:00:00Z ');
    expect(two).toContain(' expires 2099-01-01T00:00:00.000Z ');
    expect(three).toMatch(/ three\.\* .* revoked \S+Z /);
    expect(four).toContain(' in force ');
    const json = JSON.parse((await keys(['list', '--json'])).stdout) as { state: string }[];
    expect(json.map(({ state }) => state)).toEqual(['expired', 'in force', 'revoked', 'in force']);
  });

  test('a server keeps its keys when the file names one twice', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.path;
    const key = await createKey(data, 'shop');
    await createKey(data, 'other');
    await using server = await TestServer.start(data);
    expect(await send(server, key, 'shop/orders', { id: 1 })).toBe(200);
    await server.flush();
    const [, second] = await entriesOf(data);
    await edit(data, { fingerprint: second?.fingerprint ?? '' });
    const listed = await keysOn(data)(['list']);
    expect(listed).toMatchObject({ code: 1, stdout: '' });
    expect(listed.stderr).toContain('have the same fingerprint');
    expect(await send(server, key, 'shop/orders', { id: 2 })).toBe(200);
    await server.flush();
    const ids = 'SELECT id FROM shop.orders ORDER BY id';
    expect(await server.query(ids)).toEqual([{ id: 1 }, { id: 2 }]);
  });
});
