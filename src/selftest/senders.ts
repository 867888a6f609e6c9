import { Agent, type ClientRequest, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { fates, type Ledger } from './ledger.ts';
import { Random } from './random.ts';
import { type Asked, type Keys, nextRequest } from './requests.ts';

const answerTimeoutMs = 30_000;

/** The status of the answer, or why there is none. */
type Outcome = number | 'unanswered' | 'unheard';

type Counts = {
  answered: number;
  refused: number;
  /** Without an answer, though the sender waited for one. */
  unanswered: number;
  /** Not sent: nobody listened. */
  unheard: number;
  repeated: number;
  /** Given up by the sender on purpose. */
  givenUp: number;
  slow: number;
};

/** Senders on kept-alive connections, each with one request after another. */
export class Senders {
  readonly ledger: Ledger;
  readonly counts: Counts;
  /** Answered with what nobody expects, for people. */
  readonly strange: string[] = [];
  acknowledged = 0;
  /** Requests under way. */
  inFlight = 0;
  readonly #keys: Keys;
  readonly #senders: readonly Sender[];
  #isPaused = true;
  #running: Promise<unknown> = Promise.resolve();

  /** @param keys are looked at for each request: they may change. */
  constructor(seed: number, count: number, ledger: Ledger, keys: Keys) {
    this.ledger = ledger;
    this.#keys = keys;
    const none = { answered: 0, refused: 0, unanswered: 0, unheard: 0 };
    this.counts = { ...none, repeated: 0, givenUp: 0, slow: 0 };
    this.#senders = Array.from({ length: count }, (_, index) => new Sender(seed + 7 * index));
  }

  /** The first event that may still be sent again, or will be sent next. */
  get firstOpen(): number {
    const open = this.#senders.flatMap(({ waiting }) => (waiting ? [waiting.first] : []));
    return Math.min(this.ledger.sent, ...open);
  }

  /** Sends to a server, until `pause`. */
  go(ingest: string): void {
    this.#isPaused = false;
    this.#running = Promise.all(this.#senders.map((sender) => this.#run(sender, ingest, true)));
  }

  /** Sends nothing more; resolves when each request under way has its answer or its error. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    await this.#running;
  }

  /** Sends what waits to be sent again, and nothing else, until all of it is answered. */
  async finish(ingest: string, timeoutMs: number): Promise<void> {
    this.#isPaused = false;
    const timer = setTimeout(() => (this.#isPaused = true), timeoutMs);
    await Promise.all(this.#senders.map((sender) => this.#run(sender, ingest, false)));
    clearTimeout(timer);
    this.#isPaused = true;
    const left = this.#senders.filter(({ waiting }) => waiting).length;
    if (left > 0) this.strange.push(`${left} requests were sent again and again, in vain`);
  }

  async #run(sender: Sender, ingest: string, beginsNew: boolean): Promise<void> {
    while (!this.#isPaused) {
      const again = sender.waiting;
      if (!again && !beginsNew) return;
      const asked = again ?? nextRequest(sender.random, this.ledger, this.#keys);
      this.inFlight += 1;
      const status = await sender.send(ingest, asked);
      this.inFlight -= 1;
      this.#note(sender, asked, status);
      // A server that is away or refuses is not hammered.
      if (status !== 200) await sleep(20);
    }
  }

  #note(sender: Sender, asked: Asked, status: Outcome): void {
    const { manner, first, count, isRepeated } = asked;
    if (status !== 'unheard') {
      if (sender.waiting) this.counts.repeated += 1;
      if (manner === 'slow') this.counts.slow += 1;
    }
    const isAnswered = typeof status === 'number' && (status === 200 || status < 500);
    sender.waiting = isRepeated && !isAnswered ? asked : undefined;
    if (status === 200) {
      this.counts.answered += 1;
      this.acknowledged += count;
      this.ledger.note(first, count, fates.acknowledged);
    } else if (typeof status === 'number' || status === 'unheard') {
      this.counts[status === 'unheard' ? status : 'refused'] += 1;
      // Of a request that is sent again, the one before may have been stored.
      if (!isRepeated) this.ledger.note(first, count, fates.refused);
      if (status === 'unheard') return;
      if (manner !== 'wrong' && status !== 503) this.strange.push(`${status} to ${asked.form}`);
    } else if (manner === 'cut') {
      this.counts.givenUp += 1;
      this.ledger.note(first, count, fates.refused);
    } else if (manner === 'leaving') this.counts.givenUp += 1;
    else this.counts.unanswered += 1;
  }
}

class Sender {
  readonly random: Random;
  /** Sent without an answer, to be sent again. */
  waiting: Asked | undefined;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  send(ingest: string, asked: Asked): Promise<Outcome> {
    const { path, headers, manner } = asked;
    return new Promise((resolve) => {
      const posted = request(ingest + path, { method: 'POST', headers, agent: this.#agent });
      const timer = setTimeout(() => posted.destroy(), answerTimeoutMs);
      const settle = (outcome: Outcome) => {
        clearTimeout(timer);
        resolve(outcome);
      };
      posted.once('response', (response) => {
        response.on('error', () => undefined).resume();
        settle(response.statusCode ?? 0);
      });
      posted.on('error', ({ code }: NodeJS.ErrnoException) => {
        settle(code === 'ECONNREFUSED' ? 'unheard' : 'unanswered');
      });
      posted.once('close', () => settle('unanswered'));
      if (manner === 'plain' || manner === 'wrong') posted.end(asked.body);
      else void this.#write(posted, asked);
    });
  }

  async #write(posted: ClientRequest, { manner, body }: Asked): Promise<void> {
    if (manner === 'leaving') {
      posted.end(body);
      await sleep(this.random.integer(0, 4));
      posted.destroy();
      return;
    }
    const parts = this.random.integer(2, 4);
    const size = Math.max(1, Math.ceil(body.length / parts));
    const last = manner === 'cut' ? body.length - 1 : body.length;
    for (let at = 0; at < last && !posted.destroyed; at += size) {
      posted.write(body.subarray(at, Math.min(last, at + size)));
      await sleep(this.random.integer(5, 60));
    }
    if (manner === 'cut') posted.destroy();
    else posted.end();
  }
}
