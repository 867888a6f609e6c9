import type { Asked, Mark, MetricsSnapshot } from '../base/index.ts';

/** What a process is. Each edge owns the shard of its number. */
export type Role = { readonly kind: 'edge'; readonly shard: number } | { readonly kind: 'store' };

/** What an edge says of itself. */
export type EdgeReport = {
  readonly shard: number;
  readonly mark: Mark;
  readonly lastSyncAtMs: number;
  readonly hasRoom: boolean;
  readonly metrics: MetricsSnapshot;
};

/** A question of an edge to the store, on its way. */
export type Question = { readonly id: string; readonly shard: number; readonly asked: Asked };

/** The store's answer; `value` is undefined when there is none. */
export type Told = { readonly id: string; readonly shard: number; readonly value: unknown };

export type ToChild<Config> =
  | { readonly type: 'start'; readonly role: Role; readonly config: Config }
  /** To an edge: report. */
  | { readonly type: 'ask'; readonly id: number }
  /** To the store: a shard is on disk up to here. */
  | { readonly type: 'durable'; readonly shard: number; readonly mark: Mark }
  /** To the store: a question of an edge, and to the edge, its answer. */
  | ({ readonly type: 'question' } & Question)
  | ({ readonly type: 'told' } & Told)
  /** To the store: what the edges that answered say. */
  | { readonly type: 'reports'; readonly id: number; readonly reports: readonly EdgeReport[] }
  /** To the store of another server, first of all: how many edges there are. */
  | { readonly type: 'edges'; readonly edges: number }
  | { readonly type: 'drain' };

export type FromChild =
  | { readonly type: 'ready' }
  | { readonly type: 'failed'; readonly message: string; readonly hint: string | undefined }
  | { readonly type: 'durable'; readonly mark: Mark }
  | { readonly type: 'report'; readonly id: number; readonly report: EdgeReport }
  /** From the store: ask all edges. */
  | { readonly type: 'askEdges'; readonly id: number }
  /** From an edge, a question to the store; from the store, its answer. */
  | ({ readonly type: 'question' } & Question)
  | ({ readonly type: 'told' } & Told);
