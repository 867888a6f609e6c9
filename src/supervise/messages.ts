import type { MetricsSnapshot } from '../base/index.ts';

/** What a process is. Each edge owns the shard of its number. */
export type Role = { readonly kind: 'edge'; readonly shard: number } | { readonly kind: 'store' };

/** What an edge says of itself. */
export type EdgeReport = {
  readonly shard: number;
  /** All before it is on disk, everything acknowledged so far included. */
  readonly durableOffset: number;
  readonly lastSyncAtMs: number;
  readonly hasRoom: boolean;
  readonly metrics: MetricsSnapshot;
};

export type ToChild<Config> =
  | { readonly type: 'start'; readonly role: Role; readonly config: Config }
  /** To an edge: report. */
  | { readonly type: 'ask'; readonly id: number }
  /** To the store: a shard is on disk up to here. */
  | { readonly type: 'durable'; readonly shard: number; readonly offset: number }
  /** To the store: what the edges that answered say. */
  | { readonly type: 'reports'; readonly id: number; readonly reports: readonly EdgeReport[] }
  | { readonly type: 'drain' };

export type FromChild =
  | { readonly type: 'ready' }
  | { readonly type: 'failed'; readonly message: string; readonly hint: string | undefined }
  | { readonly type: 'durable'; readonly offset: number }
  | { readonly type: 'report'; readonly id: number; readonly report: EdgeReport }
  /** From the store: ask all edges. */
  | { readonly type: 'askEdges'; readonly id: number };
