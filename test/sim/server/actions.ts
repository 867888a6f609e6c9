import type { Random } from '../disk.ts';
import type { Manner } from './clients.ts';
import type { StoreFault } from './store.ts';

/** What a sender sends; one with an id is sent again as it was. */
export type Post = {
  readonly form: 'single' | 'lines' | 'array';
  readonly sizes: readonly number[];
  readonly key: 'good' | 'unknown' | 'later' | 'elsewhere';
  readonly id?: number;
  readonly isChunked?: boolean;
  /** Whether one of its events is one that no store takes. */
  readonly hasPoison?: boolean;
  readonly value: 'integer' | 'text' | 'object';
};

export type Victim = 'edge' | 'store' | 'supervisor' | 'children' | 'all';

/** What happens to a server; `ms` is how long until the next thing. */
export type Action = { readonly ms: number } & (
  | { readonly kind: 'send'; readonly posts: readonly Post[]; readonly manner: Manner }
  | { readonly kind: 'kill'; readonly victim: Victim; readonly events: number }
  | { readonly kind: 'power'; readonly events: number }
  | { readonly kind: 'stop' }
  | { readonly kind: 'disk'; readonly code: 'EIO' | 'ENOSPC'; readonly skip: number }
  /** All processes die, or the power fails, in the operation of the disk after so many others. */
  | { readonly kind: 'halt'; readonly how: 'kill' | 'power'; readonly skip: number }
  | { readonly kind: 'full' | 'slow'; readonly forMs: number }
  | { readonly kind: 'rot'; readonly where: number }
  | { readonly kind: 'store'; readonly code: StoreFault; readonly skip: number }
  | { readonly kind: 'clock'; readonly stepMs: number }
  | { readonly kind: 'import' }
);

export type Kind = Action['kind'];

const weights: Readonly<Record<Exclude<Kind, 'halt'>, number>> = {
  send: 40,
  kill: 12,
  power: 6,
  stop: 3,
  disk: 12,
  full: 3,
  slow: 3,
  rot: 2,
  store: 7,
  clock: 4,
  import: 2,
};
const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
const [actionsMin, actionsMax] = [5, 40];

/** A history by chance. */
export function actionsBy(random: Random): readonly Action[] {
  const count = whole(random, actionsMin, actionsMax);
  return Array.from({ length: count }, () => actionBy(random));
}

function actionBy(random: Random): Action {
  const ms = random() < 0.6 ? whole(random, 0, 30) : whole(random, 0, 3_000);
  const kind = kindBy(random);
  switch (kind) {
    case 'send': {
      const count = random() < 0.8 ? 1 : whole(random, 2, 5);
      const manner = oneOf<Manner>(random, [
        ...Array.from({ length: 6 }, () => 'at once' as const),
        'in drips',
        'and goes away',
        'half of it',
      ]);
      return { ms, kind, posts: Array.from({ length: count }, () => postBy(random)), manner };
    }
    case 'kill': {
      const victims = ['edge', 'store', 'supervisor', 'children', 'all'] as const;
      return { ms, kind, victim: oneOf(random, victims), events: whole(random, 0, 60) };
    }
    case 'power':
      return { ms, kind, events: whole(random, 0, 60) };
    case 'disk':
      return { ms, kind, code: oneOf(random, ['EIO', 'ENOSPC']), skip: whole(random, 0, 30) };
    case 'full':
    case 'slow':
      return { ms, kind, forMs: whole(random, 100, 8_000) };
    case 'rot':
      return { ms, kind, where: random() };
    case 'store':
      return {
        ms,
        kind,
        code: oneOf(random, ['STORE_FAILED', 'STORE_NO_ROOM', 'STORE_INVALID']),
        skip: whole(random, 0, 5),
      };
    case 'clock':
      return { ms, kind, stepMs: whole(random, -600_000, 600_000) };
    case 'import':
    case 'stop':
      return { ms, kind };
  }
}

function postBy(random: Random): Post {
  const form = oneOf<Post['form']>(random, ['single', 'single', 'single', 'lines', 'array']);
  const count = form === 'single' ? 1 : whole(random, 1, 6);
  const sizeMax = random() < 0.9 ? 300 : 3_000;
  return {
    form,
    sizes: Array.from({ length: count }, () => whole(random, 0, sizeMax)),
    key: oneOf(random, ['good', 'good', 'good', 'good', 'unknown', 'later', 'elsewhere']),
    ...(random() < 0.25 ? { id: whole(random, 0, 3) } : {}),
    ...(random() < 0.15 ? { isChunked: true } : {}),
    ...(random() < 0.04 ? { hasPoison: true } : {}),
    value: oneOf(random, ['integer', 'integer', 'text', 'object']),
  };
}

function kindBy(random: Random): keyof typeof weights {
  let left = random() * total;
  for (const [kind, weight] of Object.entries(weights) as [keyof typeof weights, number][]) {
    left -= weight;
    if (left < 0) return kind;
  }
  return 'send';
}

function whole(random: Random, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}

function oneOf<T>(random: Random, values: readonly T[]): T {
  return values[Math.floor(random() * values.length)] as T;
}
