import { UAParser } from 'ua-parser-js';

/** What a User-Agent says of its browser and system; undefined where it says nothing. */
export type Agent = Readonly<Record<AgentPart, string | undefined>>;
export type AgentPart = 'td_browser' | 'td_browser_version' | 'td_os' | 'td_os_version';

const cacheMax = 1_000;
const charactersMax = 512;
const cache = new Map<string, Agent>();

/** Parses a User-Agent; the ones seen last are remembered. */
export function agentOf(userAgent: string): Agent {
  const text = userAgent.slice(0, charactersMax);
  const known = cache.get(text);
  cache.delete(text);
  const agent = known ?? parse(text);
  cache.set(text, agent);
  const [oldest] = cache.keys();
  if (cache.size > cacheMax && oldest !== undefined) cache.delete(oldest);
  return agent;
}

function parse(text: string): Agent {
  const { browser, os } = new UAParser(text).getResult();
  return {
    td_browser: browser.name,
    td_browser_version: browser.version,
    td_os: os.name,
    td_os_version: os.version,
  };
}
