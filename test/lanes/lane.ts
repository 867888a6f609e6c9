import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type Duplex, duplexPair } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { ChildConfig } from '../../src/app.ts';
import { fingerprintOf } from '../../src/event/index.ts';
import { LogReader } from '../../src/log/index.ts';
import type { Keys } from '../fuzz/seeds.ts';
import { HeldEdge } from '../support/held-edge.ts';
import { SimDisk } from '../sim/disk.ts';

/** What is sent on one connection: piece by piece, then its end. */
export type Sent = {
  readonly pieces: readonly Buffer[];
  /** Turns of the event loop after each piece. */
  readonly turns: number;
};

/** What came of it. */
export type Played = {
  /** All that was answered, and how it ended; what no two edges say alike is taken out. */
  readonly answers: string;
  /** TCP cut it, for it was closed before all of it had come: answers may be lost on their way. */
  readonly isReset: boolean;
  /** What the log has of it, each as text. */
  readonly records: readonly string[];
  /** Requests that Node's parser read. */
  readonly byNode: number;
};

export type Mode = 'on' | 'off';

export const keys: Keys = {
  good: `1/${'a'.repeat(40)}`,
  origins: `1/${'b'.repeat(40)}`,
  strict: `1/${'c'.repeat(40)}`,
};
const nowMs = Date.UTC(2025, 0, 2, 3, 4, 5);
/** Small ones are written fast: the disk copies what is there. */
const segmentBytes = 16 * 1024;
const hangMs = 20_000;
const turnsMax = 100;

const config: Partial<ChildConfig> = {
  trustedProxies: ['127.0.0.1'],
  redirectHosts: ['shop.example'],
  sscDomains: ['shop.example'],
};

const begunByNode = new WeakMap<object, number>();
subscribe('http.server.request.start', (message) => {
  const { socket } = message as { readonly socket: object };
  begunByNode.set(socket, (begunByNode.get(socket) ?? 0) + 1);
});

/** An edge by itself, whose disk, clock and chance are the same each time. */
export class Lane implements AsyncDisposable {
  readonly #edge: HeldEdge;
  readonly #reader: LogReader;
  #readTo: number;

  private constructor(edge: HeldEdge, reader: LogReader) {
    this.#edge = edge;
    this.#reader = reader;
    this.#readTo = reader.firstOffset;
  }

  static async open(hotLane: Mode): Promise<Lane> {
    const disk = new SimDisk(() => 0, { owner: () => undefined, pass: () => Promise.resolve() });
    const file = await disk.create('/data/keys.json');
    await file.write(Buffer.from(JSON.stringify({ keys: keyEntries() })), 0);
    const edge = await HeldEdge.open('/data', {
      disk,
      segmentBytes,
      config: { ...config, hotLane },
      clock: { nowMs: () => nowMs },
      ids: { bytes: (count) => Buffer.alloc(count, 7) },
      settle: ({ tables }) => Promise.resolve(`queryable ${tables.length}`),
      explain: (record) => Promise.resolve({ record: record.toString('latin1') }),
    });
    return new Lane(edge, await LogReader.open(disk, '/data/log/0'));
  }

  /** Sends it on a connection of its own. @param bySocket over TCP, instead of in memory */
  async play(sent: Sent, bySocket = false): Promise<Played> {
    const [ours, its] = bySocket ? await this.#socket() : this.#pair();
    let [answers, ended] = ['', 'hangs'];
    const end = Promise.withResolvers<void>();
    const endsAs = (how: string) => () => {
      if (ended === 'hangs') ended = how;
      end.resolve();
    };
    ours.on('data', (chunk: Buffer) => (answers += chunk.toString('latin1')));
    ours.once('end', endsAs('ends')).once('close', endsAs('ends')).on('error', endsAs('is reset'));
    for (const piece of sent.pieces) {
      ours.write(piece);
      for (let turn = 0; turn < sent.turns; turn += 1) await setImmediate();
    }
    ours.end();
    const late = setTimeout(end.resolve, hangMs);
    await end.promise;
    clearTimeout(late);
    ours.destroy();
    its.destroy();
    const records = await this.#records();
    const isReset = bySocket && ended === 'is reset';
    return {
      answers: comparable(answers, records) + (isReset ? '' : `<${ended}>`),
      isReset,
      records: records.map(({ text }) => text),
      byNode: begunByNode.get(its) ?? 0,
    };
  }

  /** Whether it holds nothing of bodies and connections that are gone; after some turns. */
  async isEmpty(): Promise<boolean> {
    for (let turn = 0; turn < turnsMax; turn += 1) {
      const bytes = await this.#edge.metric('edge_body_bytes');
      if (bytes + (await this.#edge.metric('edge_connections')) === 0) return true;
      await setImmediate();
    }
    return false;
  }

  /** A connection to it, and its own end of that. */
  #pair(): readonly [Duplex, Duplex] {
    const [ours, its] = duplexPair();
    this.#edge.connect(Object.assign(its, { remoteAddress: '127.0.0.1' }));
    return [ours, its];
  }

  async #socket(): Promise<readonly [Duplex, Duplex]> {
    const door = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    await once(door, 'listening');
    const { port } = door.address() as AddressInfo;
    const ours = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    const [its] = (await once(door, 'connection')) as [Socket];
    door.close();
    this.#edge.connect(its);
    return [ours, its];
  }

  /** What was written to the log since the last look. */
  async #records(): Promise<readonly Logged[]> {
    const found: Logged[] = [];
    for (const { offset: durable } = this.#edge.mark; this.#readTo < durable; ) {
      await this.#reader.list();
      const { records, damage, next } = await this.#reader.read(this.#readTo, durable, 1_000_000);
      if (damage.length > 0) throw new Error(`damage in the log: ${JSON.stringify(damage)}`);
      for (let index = 0; index < records.length; index += 1) {
        const at = records.offsetAt(index);
        found.push({ at, text: records.recordAt(index).toString('latin1') });
      }
      this.#readTo = next;
    }
    return found;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#edge[Symbol.asyncDispose]();
  }
}

/** A record, and where it stands. */
type Logged = { readonly at: number; readonly text: string };

/** Without the time of day; instead of a place in the log, what stands there. */
function comparable(answers: string, records: readonly Logged[]): string {
  return answers
    .replace(/^Date: .*\r\n/gm, '')
    .replace(/^(X-Millrace-Receipt: 0-)(\d{15})/gm, (_, before: string, digits: string) => {
      const record = records.findLast(({ at }) => at <= Number(digits));
      return `${before}${record && record.text + String(Number(digits) - record.at)}`;
    });
}

function keyEntries(): readonly object[] {
  const entry = (name: keyof Keys, rules: object) => ({
    id: name,
    name,
    fingerprint: fingerprintOf(keys[name]).toString('hex'),
    database: '*',
    createdAt: new Date(nowMs).toISOString(),
    ...rules,
  });
  return [
    entry('good', {}),
    entry('origins', { origins: ['https://shop.example'] }),
    entry('strict', { database: 'elsewhere', strict: true }),
  ];
}
