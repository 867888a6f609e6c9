import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createRequire } from 'node:module';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';

export const chromiumPath = '/usr/bin/chromium';

/**
 * Starts Chromium with third-party cookies, which Debian's blocks unless the visitor allows them.
 * Any certificate is good, for the whole browser: when only a page says so, what the page sends
 * while it is left is refused.
 */
export async function launchChromium(profile: string): Promise<Browser> {
  await mkdir(join(profile, 'Default'), { recursive: true });
  const preferences = { profile: { cookie_controls_mode: 0 } };
  await writeFile(join(profile, 'Default', 'Preferences'), JSON.stringify(preferences));
  const without = ['background-networking', 'component-update', 'sync', 'gpu', 'quic'];
  const args = [
    '--no-sandbox',
    '--no-first-run',
    '--ignore-certificate-errors',
    ...without.map((part) => `--disable-${part}`),
  ];
  const options = { executablePath: chromiumPath, args };
  const browser = (await chromium.launchPersistentContext(profile, options)).browser();
  if (!browser) throw new Error('no browser');
  return browser;
}

/** From now on the page's third-party cookies are blocked, once it is loaded anew. */
export async function blockThirdPartyCookies(page: Page): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.setCookieControls', { enableThirdPartyCookieRestriction: true });
}

/** What a page says of itself. */
export const pageTitle = 'Tee & Käse 🍵';
export const pageDescription = 'Grün, schwarz, 日本茶';

/**
 * A site whose pages have a version of the JavaScript SDK: `/{package}/…`, with the SDK itself at
 * `/{package}/td.min.js`. Its origin and its host name are not those of a collector.
 */
export class Site implements AsyncDisposable {
  readonly origin: string;
  readonly #server: Server;

  private constructor(server: Server, scheme: string) {
    this.#server = server;
    this.origin = `${scheme}://localhost:${(server.address() as AddressInfo).port}`;
  }

  static async open(certificate?: { readonly cert: Buffer; readonly key: Buffer }): Promise<Site> {
    const server = certificate ? createSecureServer(certificate, serve) : createServer(serve);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Site(server, certificate ? 'https' : 'http');
  }

  /** Resolves when the browser has closed its connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const serve: RequestListener = ({ url = '/' }, response) => {
  const [, name = '', file] = /^\/([^/?]+)\/([^?]*)/.exec(url) ?? [];
  const isScript = file === 'td.min.js';
  const type = isScript ? 'text/javascript' : 'text/html';
  response.setHeader('Content-Type', `${type}; charset=utf-8`);
  response.setHeader('Connection', 'close');
  response.end(isScript ? sdkOf(name) : htmlOf(name));
};

function sdkOf(name: string): Buffer {
  return readFileSync(createRequire(import.meta.url).resolve(`${name}/dist/td.min.js`));
}

/**
 * `call` makes a promise of a method that takes callbacks for success and failure, after its other
 * arguments or, by `callThen`, before them.
 */
function htmlOf(name: string): string {
  return `<!DOCTYPE html>
<title>${pageTitle.replace('&', '&amp;')}</title>
<meta name="description" content="${pageDescription}">
<script src="/${name}/td.min.js"></script>
<script>
  let td;
  const calling = (use) => new Promise((resolve) => {
    const fail = (error) => resolve({ error: String(error) });
    try {
      use((success) => resolve({ success }), fail);
    } catch (error) {
      fail(error);
    }
  });
  const call = (method, ...args) => calling((...both) => td[method](...args, ...both));
  const callThen = (method, ...args) => calling((...both) => td[method](...both, ...args));
</script>
<a id="link" href="/${name}/linked">on</a>`;
}

/** What came to a caller of the SDK: a call of one callback, or what was thrown. */
export type Called = { readonly success?: unknown; readonly error?: string };

/** A page with an SDK that speaks to a collector. */
export class SdkPage {
  readonly page: Page;

  private constructor(page: Page) {
    this.page = page;
  }

  /** @param options of the SDK's constructor, which is called in the page. */
  static async open(
    context: BrowserContext,
    url: string,
    options: Readonly<Record<string, unknown>>,
    before: (page: Page) => Promise<void> = async () => {},
  ): Promise<SdkPage> {
    const page = await context.newPage();
    await before(page);
    await page.goto(url, { referer: `${new URL(url).origin}/before` });
    await page.evaluate(`{ td = new Treasure(${JSON.stringify(options)}) }`);
    return new SdkPage(page);
  }

  /** Calls a method of the SDK whose last arguments are its callbacks, and waits for one. */
  call(method: string, ...args: readonly unknown[]): Promise<Called> {
    return this.page.evaluate<Called>(`call(${textOf([method, ...args])})`);
  }

  /** The same for a method whose callbacks come first. */
  callThen(method: string, ...args: readonly unknown[]): Promise<Called> {
    return this.page.evaluate<Called>(`callThen(${textOf([method, ...args])})`);
  }

  /** Runs a statement that has `td` at hand. */
  async run(statement: string): Promise<void> {
    await this.page.evaluate(`{ ${statement} }`);
  }
}

function textOf(args: readonly unknown[]): string {
  return args.map((arg) => JSON.stringify(arg)).join(', ');
}
