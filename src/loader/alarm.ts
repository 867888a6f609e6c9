import { limits, type Logger } from '../base/index.ts';
import type { QuarantineReason, QuarantineRow } from '../store/index.ts';
import type { Webhook } from './webhook.ts';

/** The reasons that are of the key. */
export const keyReasons: readonly QuarantineReason[] = [
  'unknown_key',
  'key_revoked',
  'key_expired',
  'key_not_allowed',
];

/**
 * Raises the authentication failures that a sender was not told of: a line of the log and an alarm
 * for each fingerprint in each window of time, up to a limit, and one for the rest.
 */
export class AuthAlarm {
  readonly #logger: Logger;
  readonly #webhook: Webhook;
  readonly #seen = new Set<string>();
  #windowEndsMs = 0;
  #silent = 0;

  constructor(logger: Logger, webhook: Webhook) {
    this.#logger = logger;
    this.#webhook = webhook;
  }

  /** @param rows that are in quarantine by now. */
  raise(rows: readonly QuarantineRow[], nowMs: number): void {
    if (nowMs >= this.#windowEndsMs) this.#nextWindow(nowMs);
    for (const row of rows) {
      if (!keyReasons.includes(row.reason) || this.#seen.has(row.fingerprint)) continue;
      if (this.#seen.size >= limits.alarmLinesMax) {
        this.#silent += 1;
        continue;
      }
      this.#seen.add(row.fingerprint);
      const { reason, database, table, fingerprint, address } = row;
      const from = address === '' ? {} : { address };
      const what = { reason, database, table, fingerprint, ...from, hint };
      this.#logger.warn(what, 'authentication failure: events are in quarantine');
      this.#webhook.send({ alarm: 'authentication_failure', ...what });
    }
  }

  #nextWindow(nowMs: number): void {
    if (this.#silent > 0) {
      const what = { count: this.#silent, hint };
      this.#logger.warn(what, 'authentication failures of more keys: not listed');
      this.#webhook.send({ alarm: 'authentication_failures', ...what });
    }
    this.#seen.clear();
    this.#silent = 0;
    this.#windowEndsMs = nowMs + limits.alarmEveryMs;
  }
}

const hint = 'SELECT * FROM millrace.auth_failures';
