import { limits, type Logger } from '../base/index.ts';

/** Tells an operator's own service of alarms. What cannot be told is in the log anyway. */
export class Webhook {
  readonly #url: string | undefined;
  readonly #logger: Logger;
  #sending = 0;

  constructor(url: string | undefined, logger: Logger) {
    this.#url = url;
    this.#logger = logger;
  }

  /** Posts an alarm as JSON; does not wait for the answer. */
  send(alarm: Readonly<Record<string, unknown>>): void {
    if (this.#url === undefined || this.#sending >= limits.webhooksMax) return;
    this.#sending += 1;
    void this.#post(this.#url, JSON.stringify(alarm))
      .catch((error: unknown) => {
        // Not its text: that may hold the address, which may hold a secret.
        const { cause, name, status } = error as { cause?: { code?: string }; name?: string } & {
          status?: number;
        };
        const seen = status ?? cause?.code ?? name;
        this.#logger.warn({ error: seen }, 'the alarm webhook did not take an alarm');
      })
      .finally(() => {
        this.#sending -= 1;
      });
  }

  async #post(url: string, body: string): Promise<void> {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      redirect: 'error',
      signal: AbortSignal.timeout(limits.webhookTimeoutMs),
    });
    await response.body?.cancel();
    if (!response.ok) throw Object.assign(new Error('refused'), { status: response.status });
  }
}
