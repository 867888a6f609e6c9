import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { query } from './server.ts';

/** What the senders know of their events: the measure of what the server promised. */
export class Ledger {
  /** Answered with 200: each must be there once. */
  readonly acknowledged = new Set<string>();
  /** Sent without an answer: each may be there, but once only. */
  readonly unanswered = new Set<string>();
  /** Answered with anything but 200, by status: none may be there. */
  readonly refused = new Map<string, number>();
  #count = 0;

  /** An event that was never sent before; `padBytes` makes it long. */
  next(padBytes: number): { readonly id: string; readonly body: string } {
    this.#count += 1;
    const id = `e${this.#count}`;
    return { id, body: JSON.stringify({ id, pad_bytes: padBytes, pad: '#'.repeat(padBytes) }) };
  }

  note(id: string, status: number): void {
    this.unanswered.delete(id);
    if (status === 200) this.acknowledged.add(id);
    else this.refused.set(id, status);
  }
}

export type SendersOptions = {
  readonly ingest: string;
  readonly key: string;
  /** `database/table`, used in turn. */
  readonly tables: readonly string[];
  readonly ledger: Ledger;
  readonly connections: number;
  /** Length of each event's filling. */
  readonly padBytes: () => number;
};

/** Senders on kept-alive connections, each posting one event after another until it is stopped. */
export class Senders implements AsyncDisposable {
  /** The first event that these senders know to be stored. */
  readonly firstAcknowledged: Promise<void>;
  readonly #options: SendersOptions;
  readonly #running: Promise<unknown>;
  #hasFirst: () => void = () => undefined;
  #isStopped = false;

  constructor(options: SendersOptions) {
    this.#options = options;
    this.firstAcknowledged = new Promise((resolve) => {
      this.#hasFirst = resolve;
    });
    const senders = Array.from({ length: options.connections }, (_, index) => this.#send(index));
    this.#running = Promise.all(senders);
  }

  /** Sends nothing more; resolves when every open request has its answer or its error. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #send(index: number): Promise<void> {
    const { ingest, key, tables, ledger, padBytes } = this.#options;
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let turn = index; !this.#isStopped; turn += 1) {
      const { id, body } = ledger.next(padBytes());
      ledger.unanswered.add(id);
      const url = `${ingest}/postback/v3/event/${tables[turn % tables.length]}`;
      const status = await postForStatus(url, key, body, agent).catch(() => undefined);
      if (status !== undefined) ledger.note(id, status);
      if (status === 200) this.#hasFirst();
      // A server that is away or refuses is not hammered.
      else await sleep(20);
    }
    agent.destroy();
  }
}

/** The status of one post, as soon as it is known; rejects when no answer came. */
export function postForStatus(
  url: string,
  key: string,
  body: string,
  agent: Agent,
): Promise<number> {
  const headers = {
    'Content-Type': 'application/json',
    'X-TD-Write-Key': key,
    'Content-Length': Buffer.byteLength(body),
  };
  return new Promise((resolve, reject) => {
    const posted = request(url, { method: 'POST', headers, agent }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    posted.once('error', reject);
    posted.end(body);
  });
}

/** What broke the promise, by event. */
export type Audit = {
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
  readonly neverSent: readonly string[];
  readonly refusedButStored: readonly string[];
  readonly changed: readonly string[];
  readonly quarantined: number;
};

export const promiseKept: Audit = {
  lost: [],
  doubled: [],
  neverSent: [],
  refusedButStored: [],
  changed: [],
  quarantined: 0,
};

/** Holds the ledger against what SQL finds. `tables` as senders name them. */
export async function audit(
  data: string,
  tables: readonly string[],
  ledger: Ledger,
): Promise<Audit> {
  const selects = tables.map((table) => {
    return `SELECT id, count(*) AS n, bool_and(length(pad) = pad_bytes) AS is_whole
      FROM ${table.replace('/', '.')} GROUP BY id`;
  });
  const rows = await query<{ id: string; n: number; is_whole: boolean }>(
    data,
    `SELECT id, sum(n)::INTEGER AS n, bool_and(is_whole) AS is_whole
     FROM (${selects.join(' UNION ALL ')}) GROUP BY id`,
  );
  const quarantined = await query<{ n: number }>(
    data,
    'SELECT count(*) AS n FROM millrace.quarantine',
  );
  const { acknowledged, unanswered, refused } = ledger;
  const stored = new Set(rows.map(({ id }) => id));
  const wereSent = (id: string) => acknowledged.has(id) || unanswered.has(id) || refused.has(id);
  return {
    lost: [...acknowledged].filter((id) => !stored.has(id)),
    doubled: rows.filter(({ n }) => n !== 1).map(({ id }) => id),
    neverSent: [...stored].filter((id) => !wereSent(id)),
    refusedButStored: [...stored].filter((id) => refused.has(id)),
    changed: rows.filter((row) => !row.is_whole).map(({ id }) => id),
    quarantined: quarantined[0]?.n ?? NaN,
  };
}
