import { Dice } from '../fuzz/dice.ts';
import { Lane, type Played, type Sent } from './lane.ts';
import { type Case, makeCase } from './make.ts';

/*
 * The same bytes, in the same pieces, to two edges that differ in the hot lane alone: they answer
 * the same, byte for byte, and store the same. Of answers the time of day is left out, and places
 * in the log are what stands there (`comparable`); records are compared in any order, for bodies
 * that are decoded meanwhile take their time. Where TCP cut a connection, what came before that is
 * the same.
 */

export type Difference = {
  readonly seed: number;
  readonly index: number;
  /** A short case that shows it; a character is a byte. */
  readonly pieces: readonly string[];
  readonly turns: number;
  readonly on: Played;
  readonly off: Played;
};

export type Summary = {
  readonly seed: number;
  /** As many as were sent; and those that had an answer: what stands behind a mistake has none. */
  sent: number;
  requests: number;
  connections: number;
  readonly answered: Record<string, number>;
  /** Of these, where the lane is on: those that it read itself, and those that it gave to Node. */
  byHotLane: number;
  byNode: number;
  records: number;
  seconds: number;
  readonly differences: Difference[];
};

export type CampaignOptions = {
  readonly seed: number;
  /** So many answers. */
  readonly requests: number;
  readonly bySocket?: boolean;
  readonly progress?: (requests: number) => void;
};

/** Pairs of edges that play at the same time. */
const pairs = 8;
/** Cases of a pair; then it is made anew, and its memory goes. */
const pairCases = 500;
const differencesMax = 5;

export async function campaign(options: CampaignOptions): Promise<Summary> {
  const { seed, requests: requestsMax, bySocket = false, progress } = options;
  const startedAtMs = performance.now();
  const counts = {
    sent: 0,
    requests: 0,
    connections: 0,
    byHotLane: 0,
    byNode: 0,
    records: 0,
    seconds: 0,
  };
  const sum: Summary = { seed, ...counts, answered: {}, differences: [] };
  let next = 0;
  const isOver = () => sum.requests >= requestsMax || sum.differences.length >= differencesMax;
  const work = async () => {
    while (!isOver()) {
      await withPair(async (on, off) => {
        for (let count = 0; count < pairCases && !isOver(); count += 1) {
          const index = next;
          next += 1;
          const made = makeCase(new Dice(seed, index));
          sum.sent += made.requests;
          sum.connections += 1;
          const played = await both(on, off, made, bySocket);
          if (isSame(played)) note(sum, played.on);
          else {
            sum.differences.push({ seed, index, ...(await shortest(made, bySocket)) });
            // What one has stored and the other not would show again and again.
            return;
          }
          progress?.(sum.requests);
        }
        const areEmpty = [await on.isEmpty(), await off.isEmpty()].every(Boolean);
        if (!areEmpty) throw new Error('an edge holds something of connections that are gone');
      });
    }
  };
  await Promise.all(Array.from({ length: pairs }, work));
  sum.seconds = (performance.now() - startedAtMs) / 1000;
  return sum;
}

/** What too few cases have shown. */
export function missingIn(summary: Summary): readonly string[] {
  const { requests: all, answered, byHotLane, byNode, records } = summary;
  const shares: readonly (readonly [what: string, count: number, least: number])[] = [
    ['requests that the hot lane read', byHotLane, 0.3],
    ['requests that Node read', byNode, 0.1],
    ['answers 200', answered['200'] ?? 0, 0.3],
    ['answers 400', answered['400'] ?? 0, 0.1],
    ['records', records, 0.3],
  ];
  return shares
    .filter(([, count, least]) => count < least * all || all === 0)
    .map(([what, count]) => `too few ${what}: ${count} of ${all}`);
}

/** Plays a case on edges of its own. */
export function playAlone(sent: Sent, bySocket = false): Promise<{ on: Played; off: Played }> {
  return withPair((on, off) => both(on, off, sent, bySocket));
}

export function isSame({ on, off }: { on: Played; off: Played }): boolean {
  const all = ({ records }: Played) => JSON.stringify(records.toSorted());
  const begins = (one: Played, other: Played) =>
    one.isReset && other.answers.startsWith(one.answers);
  const areAlike = on.answers === off.answers || begins(on, off) || begins(off, on);
  return areAlike && all(on) === all(off);
}

export function sentOf({ pieces, turns }: Pick<Difference, 'pieces' | 'turns'>): Sent {
  return { pieces: pieces.map((piece) => Buffer.from(piece, 'latin1')), turns };
}

async function withPair<T>(use: (on: Lane, off: Lane) => Promise<T>): Promise<T> {
  await using on = await Lane.open('on');
  await using off = await Lane.open('off');
  return await use(on, off);
}

async function both(on: Lane, off: Lane, sent: Sent, bySocket: boolean) {
  const [one, other] = await Promise.all([on.play(sent, bySocket), off.play(sent, bySocket)]);
  return { on: one, off: other };
}

function note(sum: Summary, { answers, records, byNode }: Played): void {
  const statuses = [...answers.matchAll(/HTTP\/1\.1 ([2-5]\d\d) /g)].map(([, status]) => status);
  sum.requests += statuses.length;
  for (const status of statuses) {
    sum.answered[String(status)] = (sum.answered[String(status)] ?? 0) + 1;
  }
  sum.byNode += byNode;
  sum.byHotLane += Math.max(0, statuses.length - byNode);
  sum.records += records.length;
}

const triesMax = 300;

/** Takes away what is not needed for lanes to differ. */
async function shortest(
  one: Case,
  bySocket: boolean,
): Promise<Pick<Difference, 'pieces' | 'turns' | 'on' | 'off'>> {
  let sent: Sent = { pieces: one.pieces, turns: one.turns };
  let played = await playAlone(sent, bySocket);
  const shorten = async (shorter: Sent): Promise<boolean> => {
    const again = await playAlone(shorter, bySocket);
    if (isSame(again)) return false;
    [sent, played] = [shorter, again];
    return true;
  };
  await shorten({ ...sent, turns: 0 });
  await shorten({ ...sent, pieces: [Buffer.concat(sent.pieces)] });
  let tries = 0;
  for (let bytes = 4_096; bytes >= 1; bytes = Math.floor(bytes / 2)) {
    for (let at = 0; at < lengthOf(sent.pieces) && tries < triesMax; tries += 1) {
      const isShorter = await shorten({ ...sent, pieces: without(sent.pieces, at, bytes) });
      if (!isShorter) at += bytes;
    }
  }
  const pieces = sent.pieces.map((piece) => piece.toString('latin1'));
  return { pieces, turns: sent.turns, ...played };
}

function lengthOf(pieces: readonly Buffer[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

/** The pieces without some bytes. */
function without(pieces: readonly Buffer[], at: number, bytes: number): readonly Buffer[] {
  let before = 0;
  const left = pieces.map((piece) => {
    const [from, to] = [at - before, at + bytes - before];
    before += piece.length;
    return Buffer.concat([piece.subarray(0, Math.max(0, from)), piece.subarray(Math.max(0, to))]);
  });
  return left.filter((piece) => piece.length > 0);
}
