import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import * as sdk from '../support/sdk-page.ts';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';

/*
 * The JavaScript SDK as it is published, in a browser, over TLS, on pages of another origin.
 */

type Kind = {
  readonly name: string;
  readonly package: string;
  readonly version: string;
  /** How a record travels: in the query of a script, as a JSON body, or in a list of one. */
  readonly form: 'script' | 'json' | 'list';
  readonly options?: Readonly<Record<string, unknown>>;
};

const kinds: readonly Kind[] = [
  { name: '2.1', package: 'td-js-sdk-2.1', version: '2.1.0', form: 'script' },
  { name: '2.5', package: 'td-js-sdk-2.5', version: '2.5.3', form: 'script' },
  { name: '3.1', package: 'td-js-sdk-3.1', version: '3.1.4', form: 'json' },
  {
    name: '3.1 with its newer endpoint',
    package: 'td-js-sdk-3.1',
    version: '3.1.4',
    form: 'list',
    options: { useNewJavaScriptEndpoint: true },
  },
  { name: '4.4', package: 'td-js-sdk-4.4', version: '4.4.3', form: 'list' },
];

type Row = Readonly<Record<string, unknown>>;

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const isThere = existsSync(sdk.chromiumPath);

describe.skipIf(!isThere)('in a browser (needs chromium)', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let server: TestServer;
  let site: sdk.Site;
  let browser: Browser;
  let context: BrowserContext;
  let key: string;
  /** Name and port of the collector. */
  let host: string;

  beforeAll(async () => {
    directory = await temporaryDirectory();
    const data = join(directory.path, 'data');
    key = await createKey(data, '*');
    const args = ['--tls-self-signed', '--tls-port', '0', '--ssc-domains', 'localhost'];
    server = await TestServer.start(data, args);
    host = new URL(server.tls ?? '').host;
    site = await sdk.Site.open();
    browser = await sdk.launchChromium(join(directory.path, 'profile'));
  });

  afterAll(async () => {
    await browser?.close();
    await site?.[Symbol.asyncDispose]();
    await server?.kill();
    await directory?.remove();
  });

  beforeEach(async () => {
    context = await browser.newContext({ locale: 'ja-JP' });
  });

  afterEach(() => context.close());

  async function rowsOf(table: string, columns = '*'): Promise<readonly Row[]> {
    await server.flush();
    return await server.query(`SELECT ${columns} FROM ${table} ORDER BY _receipt`);
  }

  /** Rows of events whose answer nobody waits for. */
  function rowsSoon(table: string, count = 1): Promise<readonly Row[]> {
    return eventually(`${count} rows in ${table}`, async () => {
      const rows = await rowsOf(table);
      return rows.length >= count && rows;
    });
  }

  describe.each(kinds)('SDK $name', (kind) => {
    const { form } = kind;
    const database = kind.name.replace(/\W+/g, '_').replace(/^/, 'sdk_');
    const fileOf = (origin: string, path = 'shop/tea') => `${origin}/${kind.package}/${path}`;

    type Options = {
      readonly signed?: boolean;
      readonly origin?: string;
      readonly before?: (page: Page) => Promise<void>;
      readonly [option: string]: unknown;
    };

    function open(options: Options = {}): Promise<sdk.SdkPage> {
      const { signed = false, origin = site.origin, before, ...others } = options;
      const own = { host, database, writeKey: key, startInSignedMode: signed };
      const url = fileOf(origin, 'shop/tea?q=%C3%A9#part');
      return sdk.SdkPage.open(context, url, { ...own, ...kind.options, ...others }, before);
    }

    const askForGlobalId = `td.set('$global', 'td_global_id', 'td_global_id')`;
    /** What a success callback is given. */
    const answer = form === 'list' ? { receipts: [{ success: true, uuid: anything(uuid) }] } : {};

    /** What an SDK sees of its page. */
    function seen({ page }: sdk.SdkPage, userAgent: string): Row {
      const { origin } = new URL(page.url());
      return {
        td_version: kind.version,
        td_charset: 'utf-8',
        td_language: 'ja-jp',
        td_color: '24-bit',
        td_screen: '1280x720',
        td_viewport: '1280x720',
        td_title: sdk.pageTitle,
        td_description: sdk.pageDescription,
        td_url: fileOf(origin, 'shop/tea?q=%C3%A9'),
        td_user_agent: kind.version < '3' ? userAgent : `${userAgent};JSSDK/${kind.version}`,
        td_platform: expect.stringContaining('Linux'),
        td_host: new URL(origin).host,
        td_path: `/${kind.package}/shop/tea`,
        td_referrer: `${origin}/before`,
      };
    }

    /** What the server finds out; what it cannot find out is no column. */
    const agent =
      form === 'list'
        ? {}
        : {
            td_browser: anything(/^Chrome/),
            td_browser_version: anything(/^\d+\./),
            td_os: 'Linux',
          };

    const ours = { time: expect.any(Number), _rescued_data: null, _receipt: expect.any(String) };

    test('trackPageview in signed mode', async () => {
      const page = await open({ signed: true });
      expect(await page.call('trackPageview', 'views')).toEqual({ success: answer });
      const userAgent = await page.page.evaluate<string>('navigator.userAgent');
      const ip = form === 'list' ? {} : { td_ip: '127.0.0.1' };
      expect(await rowsOf(`${database}.views`)).toEqual([
        { ...ours, ...seen(page, userAgent), ...agent, ...ip, td_client_id: anything(uuid) },
      ]);
    });

    test('trackPageview in anonymous mode sends nothing that tells who it is', async () => {
      const page = await open();
      await page.run(askForGlobalId);
      // Without a name it is the table "pageviews".
      expect(await page.call('trackPageview', '')).toEqual({ success: answer });
      const userAgent = await page.page.evaluate<string>('navigator.userAgent');
      expect(await rowsOf(`${database}.pageviews`)).toEqual([
        { ...ours, ...seen(page, userAgent), ...agent },
      ]);
      // 2.1 has the mode for events alone.
      if (kind.name !== '2.1') expect(await context.cookies()).toEqual([]);
    });

    test('trackEvent, with values and a time of its own', async () => {
      const page = await open();
      const record = { kind: 'sale', td_title: 'its own', time: 1_700_000_000 };
      expect(await page.call('trackEvent', 'events', record)).toEqual({ success: answer });
      const [row, ...others] = await rowsOf(`${database}.events`);
      expect(row).toMatchObject({ ...record, td_version: kind.version, _rescued_data: null });
      expect(others).toEqual([]);
    });

    test('addRecord keeps every value and its type', async () => {
      const page = await open();
      const record = {
        text: 'é😀 日本\u2028"\\\n\u0001</script>',
        half: 'a\ud83db',
        integer: 9_007_199_254_740_991,
        number: 19.9,
        yes: true,
        no: false,
        nested: { a: [1, '😀', { b: null }] },
        none: null,
      };
      expect(await page.call('addRecord', 'records', record)).toEqual({ success: answer });
      const [row, ...others] = await rowsOf(`${database}.records`);
      expect(others).toEqual([]);
      const { half, nested, none, ...plain } = record;
      expect(row).toMatchObject(plain);
      expect(JSON.parse(String(row?.nested))).toEqual(nested);
      // Half of a pair is no text that a column could hold.
      expect(row?.half ?? none).toBeNull();
      expect(JSON.parse(String(row?._rescued_data))).toEqual({ half });
      const names = ['text', 'integer', 'number', 'yes', 'nested'];
      const types = names.map((name) => `typeof(${name}) AS ${name}`).join(', ');
      expect(await rowsOf(`${database}.records`, types)).toEqual([
        { text: 'VARCHAR', integer: 'BIGINT', number: 'DOUBLE', yes: 'BOOLEAN', nested: 'JSON' },
      ]);
    });

    if (form !== 'list') {
      test('addRecord gets what only the server knows', async () => {
        const page = await open({ signed: true });
        const record = { td_ua: 'td_ua', td_ip: 'td_ip', td_os: 'td_os', td_browser: 'mine' };
        expect(await page.call('addRecord', 'known', record)).toEqual({ success: answer });
        const td_ua = await page.page.evaluate<string>('navigator.userAgent');
        expect(await rowsOf(`${database}.known`)).toEqual([
          { ...ours, td_ua, td_ip: '127.0.0.1', td_os: 'Linux', td_browser: 'mine' },
        ]);
      });
    }

    test('a record of 40 kB arrives, an empty one too', async () => {
      const page = await open();
      const pad = 'p'.repeat(40_000);
      expect(await page.call('addRecord', 'sizes', { pad })).toEqual({ success: answer });
      expect(await page.call('addRecord', 'sizes', {})).toEqual({ success: answer });
      const lengths = await rowsOf(`${database}.sizes`, 'length(pad) AS n');
      expect(lengths).toEqual([{ n: 40_000 }, { n: null }]);
    });

    // As a body it may have 64 KiB, which is the browser's limit for what outlives a page; in a
    // query it may have as many bytes as headers may.
    test('a record of 70 kB meets the error callback, and the next one arrives', async () => {
      const page = await open({ before: ({ clock }) => clock.install() });
      const failed = form === 'script' && page.page.waitForEvent('requestfailed');
      const called = page.call('addRecord', 'long', { pad: 'p'.repeat(70_000) });
      // A script that fails is noticed by the SDK when its time is over.
      if (await failed) await page.page.clock.fastForward(10_000);
      expect(await called).toEqual({ error: anything(/Timeout|Failed to fetch/) });
      expect(await page.call('addRecord', 'long', { n: 1 })).toEqual({ success: answer });
      expect(await rowsOf(`${database}.long`)).toEqual([{ ...ours, n: 1 }]);
    });

    test('the SDK itself refuses a bad name of a table, and what is no record', async () => {
      const page = await open();
      for (const name of ['no', 'UPPER', 'a-b', `long_${'g'.repeat(251)}`, 7]) {
        const { error } = await page.call('addRecord', name, { a: 1 });
        expect(error).toMatch(/Table must be between 3 and 255|Must provide a table/);
      }
      expect((await page.call('addRecord', 'records', 'text')).error).toMatch(/provide a record/);
      expect((await page.call('addRecord', 'records', null)).error).toMatch(/provide a record/);
    });

    test('a reserved database is refused by the error callback', async () => {
      const before = ({ clock }: Page) => clock.install();
      const page = await open({ database: 'information_schema', before });
      const answered = page.page.waitForResponse((response) => response.url().includes(host));
      const called = page.call('addRecord', 'tables', { a: 1 });
      expect((await answered).status()).toBe(400);
      if (form === 'script') await page.page.clock.fastForward(10_000);
      expect(await called).toEqual({ error: anything(/^Error/) });
    });

    test('a wrong key is not noticed by the page, and its event is not lost', async () => {
      const page = await open({ writeKey: '1/typo' });
      const record = { lost: 'é😀' };
      expect(await page.call('addRecord', 'keyless', record)).toEqual({ success: answer });
      await server.flush();
      const found = await server.query(
        `SELECT reason, body FROM millrace.quarantine WHERE "database" = '${database}'`,
      );
      expect(found).toEqual([{ reason: 'unknown_key', body: JSON.stringify(record) }]);
    });

    // Up to 2.4 an event of a page that is being left is a script, which browsers then drop.
    if (kind.name !== '2.1') {
      describe('while the page is being left', () => {
        test('an event on "pagehide" arrives', async () => {
          const page = await open({ signed: true });
          const send = `td.trackEvent('hidden', { how: 'é😀' })`;
          await page.run(`addEventListener('pagehide', () => ${send})`);
          await page.page.goto(fileOf(site.origin, 'left'));
          const [row] = await rowsSoon(`${database}.hidden`);
          expect(row).toMatchObject({ how: 'é😀', td_path: `/${kind.package}/shop/tea` });
        });

        test('a click on a link arrives', async () => {
          const page = await open();
          await page.run('td.trackClicks()');
          await page.page.click('#link');
          await page.page.waitForURL(fileOf(site.origin, 'linked'));
          const [row] = await rowsSoon(`${database}.clicks`);
          expect(row).toMatchObject({ tag: 'a', href: anything(/\/linked$/) });
        });

        if (form !== 'script') {
          test('an event just before arrives', async () => {
            const page = await open();
            const left = fileOf(site.origin, 'left');
            await page.run(`td.addRecord('before', { n: 1 }); location.href = '${left}'`);
            await page.page.waitForURL(left);
            expect(await rowsSoon(`${database}.before`)).toEqual([{ ...ours, n: 1 }]);
          });
        }
      });
    }

    describe('fetchGlobalID', () => {
      const idOf = async (page: sdk.SdkPage, isForced = true): Promise<string> => {
        const { success } = await page.callThen('fetchGlobalID', isForced);
        return String(success);
      };

      test('gives the same id to pages of different sites, and to events', async () => {
        const page = await open({ signed: true });
        await page.run(askForGlobalId);
        const id = await idOf(page);
        expect(id).toMatch(uuid);
        expect(await idOf(page)).toBe(id);
        expect(await idOf(page, false), 'of its own cookie').toBe(id);
        await page.call('trackEvent', 'identified', { n: 1 });

        const origin = site.origin.replace('localhost', 'other.localhost');
        const other = await open({ signed: true, origin });
        await other.run(askForGlobalId);
        await other.call('addRecord', 'identified', { n: 2 });
        expect(await idOf(other)).toBe(id);
        expect(await rowsOf(`${database}.identified`, 'n, td_global_id')).toEqual([
          { n: 1, td_global_id: id },
          { n: 2, td_global_id: id },
        ]);
        const [cookie] = await context.cookies(`https://${host}`);
        expect(cookie).toMatchObject({
          value: id,
          httpOnly: true,
          secure: true,
          sameSite: 'None',
        });
      });

      test('gives another id each time when third-party cookies are blocked', async () => {
        const page = await open({ signed: true, before: sdk.blockThirdPartyCookies });
        await page.run(askForGlobalId);
        const ids = [await idOf(page), await idOf(page)];
        for (const id of ids) expect(id).toMatch(uuid);
        expect(new Set(ids).size).toBe(2);
        expect(await idOf(page, false), 'of its own cookie').toBe(ids[1]);
      });

      test('is refused by the SDK in anonymous mode', async () => {
        const page = await open();
        await page.run(askForGlobalId);
        if (kind.name === '2.1') expect(await idOf(page)).toMatch(uuid);
        else
          expect(await page.callThen('fetchGlobalID', true)).toEqual({ error: anything(/signed/) });
      });
    });

    // The SDK asks for it by the media type alone, as its README says of "td_ip".
    if (form === 'list') {
      test('td_ip comes with td_global_id in signed mode', async () => {
        const page = await open({ signed: true });
        await page.run(askForGlobalId);
        expect(await page.call('trackEvent', 'addressed', {})).toEqual({ success: answer });
        const [row] = await rowsOf(`${database}.addressed`);
        expect(row).toMatchObject({ td_global_id: anything(uuid), td_ip: '127.0.0.1' });
      });
    }

    if (kind.name !== '2.1') {
      test('fetchServerCookie gives an id that stays', async () => {
        // The cookie is of the page's own site, which is one with TLS.
        const fileAt = (name: string) => readFile(join(server.data, 'tls', name));
        const certificate = { cert: await fileAt('cert.pem'), key: await fileAt('key.pem') };
        await using secure = await sdk.Site.open(certificate);
        const sscServer = host.replace('127.0.0.1', 'localhost');
        const ssc = { useServerSideCookie: true, sscDomain: 'localhost', sscServer };
        const page = await open({ signed: true, origin: secure.origin, ...ssc });
        const first = await page.callThen('fetchServerCookie', true);
        expect(first).toEqual({ success: anything(/^[0-9A-HJKMNP-TV-Z]{26}$/) });
        expect(await page.callThen('fetchServerCookie', true)).toEqual(first);
        expect(await page.callThen('fetchServerCookie', false)).toEqual(first);
        expect(await page.page.evaluate('document.cookie')).toContain(
          `_td_ssc_id=${String(first.success)}`,
        );
      });
    }
  });

  describe('a page without an SDK', () => {
    let page: Page;
    /** Postbacks to a table, with the key in the query. */
    const urlOf = (table: string, more = '') =>
      `https://${host}/postback/v3/event/page/${table}?td_write_key=${key}${more}`;

    beforeEach(async () => {
      page = await context.newPage();
      await page.goto(`${site.origin}/td-js-sdk-4.4/plain`);
    });

    test('fetch with credentials: the page reads the answer, its cookie comes back', async () => {
      const send = (id: number) =>
        page.evaluate(`fetch('https://${host}/postback/v3/event/page/fetched', {
          method: 'POST',
          credentials: 'include',
          headers: { 'Content-Type': 'application/json', 'X-TD-Write-Key': '${key}' },
          body: JSON.stringify({ id: ${id}, text: 'é😀', td_global_id: 'td_global_id' }),
        }).then(async (response) => [response.status, await response.text()])`);
      expect(await send(1)).toEqual([200, '{}']);
      expect(await send(2)).toEqual([200, '{}']);
      const rows = await rowsOf('page.fetched', 'id, text, td_global_id');
      const td_global_id = anything(uuid);
      expect(rows).toEqual([
        { id: 1, text: 'é😀', td_global_id },
        { id: 2, text: 'é😀', td_global_id },
      ]);
      expect(rows[0]?.td_global_id).toBe(rows[1]?.td_global_id);
    });

    test('fetch of an event that is refused: the page reads why', async () => {
      const send = `fetch('${urlOf('refused')}', { method: 'POST', body: '[7]' })
        .then(async (response) => [response.status, await response.json()])`;
      expect(await page.evaluate(send)).toEqual([400, { error: anything(/./) }]);
    });

    test('fetch without CORS', async () => {
      const init = `{ method: 'POST', mode: 'no-cors', body: '{"n":1}' }`;
      const send = `fetch('${urlOf('opaque')}', ${init}).then((response) => response.type)`;
      expect(await page.evaluate(send)).toBe('opaque');
      expect(await rowsOf('page.opaque', 'n')).toEqual([{ n: 1 }]);
    });

    test('navigator.sendBeacon, as text and as JSON', async () => {
      const text = `JSON.stringify({ text: 'é😀' })`;
      const blob = `new Blob([${text}], { type: 'application/json' })`;
      for (const data of [text, blob]) {
        expect(await page.evaluate(`navigator.sendBeacon('${urlOf('beacons')}', ${data})`)).toBe(
          true,
        );
      }
      const rows = await rowsSoon('page.beacons', 2);
      expect(rows.map((row) => row.text)).toEqual(['é😀', 'é😀']);
    });

    test('navigator.sendBeacon while the page is being left', async () => {
      const send = `navigator.sendBeacon('${urlOf('lastbeacon')}', '{"n":1}')`;
      await page.evaluate(`{ addEventListener('pagehide', () => ${send}) }`);
      await page.goto(`${site.origin}/td-js-sdk-4.4/left`);
      expect((await rowsSoon('page.lastbeacon')).map((row) => row.n)).toEqual([1]);
    });

    test('a click on <a ping>', async () => {
      const ping = urlOf('pings', '&td_format=pixel&text=é😀&td_ip=td_ip').replaceAll('&', '&amp;');
      const link = `<a id="pinging" href="/td-js-sdk-4.4/left" ping="${ping}">on</a>`;
      await page.evaluate(`{ document.body.innerHTML = ${JSON.stringify(link)} }`);
      await page.click('#pinging');
      await page.waitForURL(/left$/);
      const rows = await rowsSoon('page.pings');
      expect(rows).toMatchObject([{ text: 'é😀', td_ip: '127.0.0.1', _rescued_data: null }]);
      expect(rows[0]).not.toHaveProperty('td_format');
    });

    test('<img>: the picture has one pixel', async () => {
      const url = urlOf('pixels', '&td_format=pixel&text=é😀&n=1&td_ua=td_ua');
      const size = await page.evaluate(`(async () => {
        const image = document.body.appendChild(document.createElement('img'));
        image.src = ${JSON.stringify(url)};
        await image.decode();
        return [image.naturalWidth, image.naturalHeight];
      })()`);
      expect(size).toEqual([1, 1]);
      const td_ua = await page.evaluate('navigator.userAgent');
      expect(await rowsOf('page.pixels', 'text, n, td_ua')).toEqual([
        { text: 'é😀', n: '1', td_ua },
      ]);
    });
  });

  test('after all of this, only events with the wrong key are in quarantine', async () => {
    await server.flush();
    const reasons = await server.query('SELECT DISTINCT reason FROM millrace.quarantine');
    expect(reasons).toEqual([{ reason: 'unknown_key' }]);
  });
});

function anything(pattern: RegExp): unknown {
  return expect.stringMatching(pattern);
}
