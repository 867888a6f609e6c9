import { limits, type Logger } from '../base/index.ts';
import type { QuarantineReason, QuarantineRow } from '../store/index.ts';

const reasons: ReadonlySet<QuarantineReason> = new Set([
  'unknown_key',
  'key_revoked',
  'key_expired',
  'key_not_allowed',
]);

/**
 * Raises the authentication failures that a sender was not told of: a line of the log for each
 * fingerprint in each window of time, up to a limit, and one for the rest.
 */
export class AuthAlarm {
  readonly #logger: Logger;
  readonly #seen = new Set<string>();
  #windowEndsMs = 0;
  #silent = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @param rows that are in quarantine by now. */
  raise(rows: readonly QuarantineRow[], nowMs: number): void {
    if (nowMs >= this.#windowEndsMs) this.#nextWindow(nowMs);
    for (const row of rows) {
      if (!reasons.has(row.reason) || this.#seen.has(row.fingerprint)) continue;
      if (this.#seen.size >= limits.alarmLinesMax) {
        this.#silent += 1;
        continue;
      }
      this.#seen.add(row.fingerprint);
      const { reason, database, table, fingerprint } = row;
      this.#logger.warn(
        { reason, database, table, fingerprint, hint },
        'authentication failure: events are in quarantine',
      );
    }
  }

  #nextWindow(nowMs: number): void {
    if (this.#silent > 0) {
      const count = this.#silent;
      this.#logger.warn({ count, hint }, 'authentication failures of more keys: not listed');
    }
    this.#seen.clear();
    this.#silent = 0;
    this.#windowEndsMs = nowMs + limits.alarmEveryMs;
  }
}

const hint = 'SELECT * FROM millrace.auth_failures';
