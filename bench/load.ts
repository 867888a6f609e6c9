import { connect, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { eventBytes, firstId, writeEvent } from './events.ts';

/*
 * The load, in a thread of its own. Each connection has one request under way at most, so its
 * buffers are used again and a request costs no allocation of ours.
 */

export type Target = {
  readonly host: string;
  readonly port: number;
  /** Requests go to them in turn: names of one length. */
  readonly tables: readonly string[];
  readonly key: string;
  readonly connections: number;
  /** More than one are sent as lines. */
  readonly eventsPerRequest: number;
};

/**
 * The rate is of events. Without one: a closed loop, every connection sends again as soon as it
 * is answered.
 */
export type Phase = {
  readonly seconds: number;
  readonly ratePerSecond?: number;
  /** Whether it has a core for itself, and need not sleep until the next millisecond. */
  readonly hasCore?: boolean;
};

export type PhaseResult = {
  /** Events, their ids from where the phase before ended; all were answered. */
  readonly sent: number;
  /** Of these, the ids that were not acknowledged. */
  readonly refusedIds: readonly number[];
  /** From the first request to the last answer. */
  readonly elapsedMs: number;
  /** From when a request was due to its answer; in a closed loop it is due when it is sent. */
  readonly latenciesMs: Float64Array;
  /** By how much a request was sent late although a connection was idle: our own share. */
  readonly lateMs: Float64Array;
};

const answerBytesMax = 4096;
const tail = Buffer.from('\r\n\r\n{}');
const lastChunk = '\r\n0\r\n\r\n';
const method = 'POST ';
/** Where the events go, without the table. */
export const database = '/postback/v3/event/bench/';

class Connection {
  readonly #socket: Socket;
  readonly #request: Buffer;
  readonly #bodyAt: number;
  readonly #events: number;
  readonly #answer = Buffer.alloc(answerBytesMax);
  #answerBytes = 0;
  id = 0;
  dueMs = 0;

  /** `answered` gets the status of each answer. */
  constructor(target: Target, answered: (connection: Connection, status: number) => void) {
    const { eventsPerRequest: events, tables } = target;
    const bodyBytes = events * (eventBytes + 1) - 1;
    const head =
      `${method}${database}${tables[0]} HTTP/1.1\r\nHost: ${target.host}:${target.port}\r\n` +
      `Content-Type: application/${events > 1 ? 'x-ndjson' : 'json'}\r\n` +
      `X-TD-Write-Key: ${target.key}\r\nContent-Length: ${bodyBytes}\r\n\r\n`;
    this.#bodyAt = head.length;
    this.#events = events;
    this.#request = Buffer.alloc(head.length + bodyBytes, '\n');
    this.#request.write(head, 'latin1');
    const receive = (count: number, chunk: Uint8Array) => {
      if (this.#answerBytes + count > answerBytesMax) throw new Error('an answer is too long');
      this.#answer.set(chunk.subarray(0, count), this.#answerBytes);
      this.#answerBytes += count;
      const status = statusOf(this.#answer, this.#answerBytes);
      if (status !== 0) answered(this, status);
      return true;
    };
    const { host, port } = target;
    const onread = { buffer: Buffer.alloc(answerBytesMax), callback: receive };
    this.#socket = connect({ host, port, noDelay: true, onread });
    this.#socket.once('close', () => {
      throw new Error('the server closed a connection');
    });
  }

  opened(): Promise<void> {
    return new Promise((resolve) => this.#socket.once('connect', resolve));
  }

  /** @param id of the first event; the others count up from it. */
  send(id: number, table: string, dueMs: number): void {
    this.id = id;
    this.dueMs = dueMs;
    this.#answerBytes = 0;
    this.#request.write(table, method.length + database.length, 'latin1');
    for (let index = 0; index < this.#events; index += 1) {
      writeEvent(this.#request, this.#bodyAt + index * (eventBytes + 1), id + index);
    }
    this.#socket.write(this.#request);
  }
}

/** The status of a whole answer; 0 while something is missing. */
function statusOf(answer: Buffer, length: number): number {
  const isOk = answer[9] === 0x32 && answer[10] === 0x30 && answer[11] === 0x30;
  if (isOk && answer.compare(tail, 0, tail.length, length - tail.length, length) === 0) return 200;
  const text = answer.toString('latin1', 0, length);
  const bodyAt = text.indexOf('\r\n\r\n') + 4;
  if (bodyAt < 4) return 0;
  // Other servers than ours may not say the length before.
  const bodyBytes = /^content-length: *(\d+)/im.exec(text)?.[1];
  const isWhole =
    bodyBytes === undefined ? text.endsWith(lastChunk) : length === bodyAt + Number(bodyBytes);
  return isWhole ? Number(text.slice(9, 12)) : 0;
}

/** Milliseconds of every request of a phase, in the order of its answers. */
class Samples {
  #values: Float64Array<ArrayBuffer>;
  #count = 0;

  constructor(expected: number) {
    this.#values = new Float64Array(expected);
  }

  add(value: number): void {
    if (this.#count === this.#values.length) {
      const grown = new Float64Array(this.#count * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#count] = value;
    this.#count += 1;
  }

  all(): Float64Array<ArrayBuffer> {
    return this.#values.slice(0, this.#count);
  }
}

class Load {
  readonly #idle: Connection[] = [];
  #idleSinceMs = 0;
  readonly #target: Target;
  /** Requests of the phases before. */
  #sentBefore = 0;
  #answered: (connection: Connection, status: number) => void = () => undefined;

  private constructor(target: Target) {
    this.#target = target;
  }

  static async open(target: Target): Promise<Load> {
    const load = new Load(target);
    for (let count = 0; count < target.connections; count += 1) {
      const connection = new Connection(target, (from, status) => load.#answered(from, status));
      await connection.opened();
      load.#idle.push(connection);
    }
    return load;
  }

  /**
   * Sends for one phase and waits for every answer. With a rate, request n is due at n / rate,
   * whatever became of the ones before it: what finds no idle connection waits, and that counts.
   */
  async run({ seconds, ratePerSecond, hasCore }: Phase): Promise<PhaseResult> {
    const { connections, eventsPerRequest: events, tables } = this.#target;
    const requestsPerSecond = ratePerSecond === undefined ? undefined : ratePerSecond / events;
    const total =
      requestsPerSecond === undefined ? Infinity : Math.ceil(requestsPerSecond * seconds);
    const latencies = new Samples(Math.min(total, 1_000_000));
    const late = new Samples(Math.min(total, 1_000_000));
    const refusedIds: number[] = [];
    let sent = 0;
    const startedAtMs = performance.now();
    const endMs = startedAtMs + seconds * 1000;
    const isOver = (nowMs: number) =>
      requestsPerSecond === undefined ? nowMs >= endMs : sent === total;
    const dueMs = (nowMs: number) =>
      requestsPerSecond === undefined ? nowMs : startedAtMs + (sent * 1000) / requestsPerSecond;
    const sendDue = () => {
      const nowMs = performance.now();
      while (this.#idle.length > 0 && !isOver(nowMs)) {
        const due = dueMs(nowMs);
        if (due > nowMs) return;
        late.add(nowMs - Math.max(due, this.#idleSinceMs));
        const request = this.#sentBefore + sent;
        const table = tables[request % tables.length] ?? '';
        this.#idle.shift()?.send(firstId + request * events, table, due);
        sent += 1;
      }
    };
    await new Promise<void>((resolve) => {
      const clock = setInterval(sendDue, 1);
      let isDone = false;
      const look = () => {
        sendDue();
        if (hasCore && !isDone) setImmediate(look);
      };
      this.#answered = (connection, status) => {
        const nowMs = performance.now();
        latencies.add(nowMs - connection.dueMs);
        if (status !== 200) {
          for (let at = 0; at < events; at += 1) refusedIds.push(connection.id + at);
        }
        if (this.#idle.push(connection) === 1) this.#idleSinceMs = nowMs;
        sendDue();
        if (!isOver(nowMs) || this.#idle.length < connections) return;
        clearInterval(clock);
        isDone = true;
        resolve();
      };
      look();
    });
    const elapsedMs = performance.now() - startedAtMs;
    this.#sentBefore += sent;
    const [latenciesMs, lateMs] = [latencies.all(), late.all()];
    return { sent: sent * events, refusedIds, elapsedMs, latenciesMs, lateMs };
  }
}

if (parentPort) {
  const port = parentPort;
  const load = await Load.open(workerData as Target);
  port.on('message', (phase: Phase) => {
    void load.run(phase).then((result) => {
      const { latenciesMs, lateMs } = result;
      port.postMessage(result, [latenciesMs.buffer as ArrayBuffer, lateMs.buffer as ArrayBuffer]);
    });
  });
  port.postMessage('open');
}
