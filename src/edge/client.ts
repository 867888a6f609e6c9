import { BlockList, isIP, isIPv4 } from 'node:net';
import { fault } from '../base/index.ts';

/** Finds who sent a request, behind proxies that are trusted to say so. */
export class TrustedProxies {
  readonly #list = new BlockList();

  /** @param networks addresses and networks, such as 10.0.0.0/8. @throws BAD_SETTING */
  constructor(networks: readonly string[]) {
    for (const network of networks) {
      const [address = '', bits] = network.split('/');
      const max = isIPv4(address) ? 32 : 128;
      const prefix = bits === undefined ? max : /^\d{1,3}$/.test(bits) ? Number(bits) : NaN;
      if (isIP(address) === 0 || !(prefix <= max)) {
        const seen = `--trusted-proxies: "${network}" is no address or network like 10.0.0.0/8`;
        throw fault('BAD_SETTING', { seen });
      }
      this.#list.addSubnet(address, prefix, familyOf(address));
    }
  }

  /**
   * The sender's address: the last one in X-Forwarded-For that no trusted proxy has, if the
   * connection comes from a trusted proxy; else the connection's own.
   */
  clientOf(peer: string, forwardedFor: string | undefined): string {
    let client = plain(peer);
    const chain = forwardedFor?.split(',').map((part) => plain(part.trim())) ?? [];
    while (chain.length > 0 && this.#isTrusted(client)) {
      const before = chain.pop() ?? '';
      if (isIP(before) === 0) break;
      client = before;
    }
    return client;
  }

  #isTrusted(address: string): boolean {
    return isIP(address) !== 0 && this.#list.check(address, familyOf(address));
  }
}

/** Without the port and brackets that some proxies add, and IPv4 as such. */
function plain(address: string): string {
  const bare = /^\[(.+)\](?::\d+)?$/.exec(address)?.[1] ?? address;
  const host = /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(bare)?.[1] ?? bare;
  return host.replace(/^::ffff:(?=\d+\.)/i, '');
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6';
}
