import { isDeepStrictEqual } from 'node:util';
import type { Post } from './actions.ts';
import type { Answer } from './clients.ts';
import type { Medium, Row } from './store.ts';

/** An event as its sender knows it. */
export type Sent = { readonly id: string; readonly text: string; readonly hasPoison: boolean };

/** A request, with each time that it was sent. */
export type Request = {
  readonly key: Post['key'];
  readonly hasId: boolean;
  readonly events: readonly Sent[];
  readonly answers: Answer[];
};

const refusals = [400, 408, 429, 500, 503];

/**
 * What the sum of a run must be. Everything that was acknowledged is stored once, nothing that was
 * refused, all or nothing of a request that has no answer, and nothing else.
 */
export class Oracle {
  readonly requests: Request[] = [];
  readonly #medium: Medium;
  /** Bits that were flipped in the log: each may cost one request. */
  rots = 0;
  /** From when on events with the late key are rows. */
  isImported = false;

  constructor(medium: Medium) {
    this.#medium = medium;
  }

  acknowledged(): readonly Request[] {
    return this.requests.filter(({ answers }) => answers.includes(200));
  }

  /** Whether all that was acknowledged has arrived, as far as it can. */
  isSettled(): boolean {
    const stored = this.#stored();
    const missing = this.acknowledged().filter(({ events }) => !stored.has(events[0]?.id ?? ''));
    return missing.length <= this.rots;
  }

  /** What is wrong. */
  *violations(): Generator<string> {
    const stored = this.#stored();
    let missing = 0;
    for (const request of this.requests) {
      const { events, answers } = request;
      const counts = events.map(({ id }) => stored.get(id)?.length ?? 0);
      const acks = answers.filter((answer) => answer === 200).length;
      const unknown = answers.filter((answer) => answer === undefined).length;
      const strange = answers.find((answer) => answer !== 200 && !refusals.includes(answer ?? 503));
      if (strange !== undefined) yield `an answer of ${strange}`;
      for (const [index, { id }] of events.entries()) {
        const count = counts[index] ?? 0;
        const told = answers.map(String).join(', ');
        const where = `${id} (answers ${told}; stored ${counts.join(', ')})`;
        const rows = stored.get(id)?.filter(({ row }) => row !== undefined).length ?? 0;
        if (rows > 0 && count > 1 && !request.hasId) yield `twice: ${where}`;
        if (rows > 1) yield `rows twice: ${where}`;
        if (count > acks + unknown) yield `more often than it was sent: ${where}`;
        if (acks + unknown === 0 && count > 0) yield `refused and stored: ${where}`;
        if (count !== counts[0] && !request.hasId) yield `a part of a request: ${where}`;
        const isKept = count >= (request.hasId ? Math.min(1, acks) : acks);
        if (index === 0 && !isKept) {
          missing += 1;
          if (missing > this.rots) yield `acknowledged and lost: ${where}`;
        }
        yield* this.#wrong(request, index, stored.get(id) ?? []);
      }
    }
    const known = new Set(this.requests.flatMap(({ events }) => events.map(({ id }) => id)));
    for (const id of stored.keys()) if (!known.has(id)) yield `never sent: ${id}`;
  }

  /** In the right place, with the right bytes. */
  *#wrong(request: Request, index: number, copies: readonly Stored[]): Generator<string> {
    const { id, text, hasPoison } = request.events[index] as Sent;
    for (const { row, body, reason } of copies) {
      if (row && !isEvent(row, text, this.#medium.isJson('value')))
        yield `another row: ${rowText(row)} of ${text}`;
      if (body !== undefined && body !== text) yield `other bytes: ${body} of ${text}`;
      if (reason !== this.#reason(request, hasPoison)) yield `${id} is in quarantine: ${reason}`;
    }
  }

  #reason({ key }: Request, hasPoison: boolean): string | undefined {
    if (key === 'unknown' || (key === 'later' && !this.isImported)) return 'unknown_key';
    if (key === 'elsewhere') return 'key_not_allowed';
    return hasPoison ? 'unloadable' : undefined;
  }

  #stored(): ReadonlyMap<string, readonly Stored[]> {
    const { rows, quarantine } = this.#medium;
    const stored = new Map<string, Stored[]>();
    const add = (id: string, one: Stored) => stored.set(id, [...(stored.get(id) ?? []), one]);
    for (const row of rows.values()) add(String(row.get('id')), { row });
    for (const { body, reason } of quarantine.values()) {
      add((JSON.parse(body) as { id: string }).id, { body, reason });
    }
    return stored;
  }
}

type Stored = { readonly row?: Row; readonly body?: string; readonly reason?: string };

/** Whether a row says what its event said; a column of texts has numbers as texts. */
function isEvent(row: Row, text: string, isJson: boolean): boolean {
  const { id, pad, value: cell } = Object.fromEntries(row);
  const value: unknown = isJson && cell !== undefined ? JSON.parse(String(cell)) : cell;
  const rescued = JSON.parse(String(row.get('_rescued_data') ?? '{}')) as object;
  const found = { id, pad, ...(value === undefined ? {} : { value }), ...rescued };
  const sent = JSON.parse(text) as Record<string, unknown>;
  return isDeepStrictEqual(
    { ...found, value: plain(found.value) },
    { ...sent, value: plain(sent.value) },
  );
}

function plain(value: unknown): string {
  return typeof value === 'bigint'
    ? String(value)
    : typeof value === 'string'
      ? value
      : JSON.stringify(value);
}

function rowText(row: Row): string {
  return [...row].map(([name, value]) => `${name}=${String(value)}`).join(' ');
}
