import { type Disk, fault, isFault, limits, type Logger } from '../base/index.ts';
import type { Submission } from '../event/index.ts';
import type { Headers } from '../wire/index.ts';
import { type KeyEntry, KeyRing, mayWrite, stateOf } from '../keys/index.ts';

/**
 * What an edge asks of a write key before it takes an event. By default that is nothing: the
 * loader decides later. In strict mode, of the server or of a key, a wrong key is refused at once;
 * a key with origins takes events of pages from these alone.
 */
export class KeyPolicy {
  readonly #ring: KeyRing;
  readonly #isStrict: boolean;
  readonly #logger: Logger;
  /** Of the fingerprints that are remembered. */
  readonly #texts = new WeakMap<Buffer, string>();
  #isReadable = true;
  #looking: Promise<void> = Promise.resolve();
  /** The look that begins when the one under way has ended. */
  #nextLook: Promise<void> | undefined;
  /** Sees to a plain key that is given rules; every other is looked at when it is used. */
  readonly #timer: NodeJS.Timeout;

  private constructor(ring: KeyRing, isStrict: boolean, logger: Logger) {
    this.#ring = ring;
    this.#isStrict = isStrict;
    this.#logger = logger;
    this.#timer = setInterval(() => void this.#refresh(), limits.keysRefreshEveryMs);
  }

  static async open(
    disk: Disk,
    dataDirectory: string,
    isStrict: boolean,
    logger: Logger,
  ): Promise<KeyPolicy> {
    const policy = new KeyPolicy(new KeyRing(disk, dataDirectory, logger), isStrict, logger);
    await policy.#refresh();
    return policy;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Looks at the keys again, once for all who ask meanwhile; never earlier than they asked. */
  #refresh(): Promise<void> {
    this.#nextLook ??= this.#looking.then(() => {
      this.#nextLook = undefined;
      this.#looking = this.#look();
      return this.#looking;
    });
    return this.#nextLook;
  }

  /** A file that cannot be read changes nothing outside strict mode. */
  async #look(): Promise<void> {
    try {
      await this.#ring.refresh();
      this.#isReadable = true;
    } catch (error) {
      if (!isFault(error, 'BAD_KEYS_FILE')) throw error;
      if (this.#isReadable) this.#logger.warn({ error: error.message }, 'keys cannot be checked');
      this.#isReadable = false;
    }
  }

  /**
   * Whether the key may write what is submitted, as far as this edge knows.
   * @throws KEY_UNKNOWN, KEY_REVOKED, KEY_EXPIRED, KEY_NOT_ALLOWED, ORIGIN_NOT_ALLOWED,
   *   KEYS_UNREADABLE
   */
  check(submission: Submission, headers: Headers): boolean | Promise<boolean> {
    // Any other key may have been made or changed just now.
    const key = this.plainKey(submission);
    if (key && stateOf(key, submission.receivedAtMs) === 'in force') return true;
    return this.#checkAnew(this.#textOf(submission.fingerprint), submission, headers);
  }

  /** Grows when other keys are in force, or the same with other rules. */
  get version(): number {
    return this.#ring.version;
  }

  /**
   * The key of what is submitted, if it is known to be without rules and may write it while it is
   * in force.
   */
  plainKey({ fingerprint, groups }: Submission): KeyEntry | undefined {
    const known = this.#ring.find(this.#textOf(fingerprint));
    const isPlain = known && !known.strict && !known.origins && !this.#isStrict;
    return isPlain && mayWriteAll(known, groups) ? known : undefined;
  }

  #textOf(fingerprint: Buffer): string {
    let text = this.#texts.get(fingerprint);
    if (text === undefined) this.#texts.set(fingerprint, (text = fingerprint.toString('hex')));
    return text;
  }

  async #checkAnew(
    fingerprint: string,
    submission: Submission,
    headers: Headers,
  ): Promise<boolean> {
    await this.#refresh();
    if (this.#isStrict && !this.#isReadable) throw fault('KEYS_UNREADABLE');
    const key = this.#ring.find(fingerprint);
    if (this.#isStrict || key?.strict) mustBeGood(key, submission);
    const origin = originOf(headers);
    if (origin !== undefined && key?.origins && !key.origins.includes(origin)) {
      throw fault('ORIGIN_NOT_ALLOWED', { seen: origin });
    }
    if (key === undefined || stateOf(key, submission.receivedAtMs) !== 'in force') return false;
    return mayWriteAll(key, submission.groups);
  }
}

function mustBeGood(key: KeyEntry | undefined, { groups, receivedAtMs }: Submission): void {
  if (!key) throw fault('KEY_UNKNOWN');
  const state = stateOf(key, receivedAtMs);
  if (state !== 'in force') throw fault(state === 'revoked' ? 'KEY_REVOKED' : 'KEY_EXPIRED');
  const closed = groups.find(({ database, table }) => !mayWrite(key, database, table));
  if (closed) throw fault('KEY_NOT_ALLOWED', { seen: `${closed.database}.${closed.table}` });
}

function mayWriteAll(key: KeyEntry, groups: Submission['groups']): boolean {
  return groups.every(({ database, table }) => mayWrite(key, database, table));
}

/** Where the page comes from: pictures and scripts say it as Referer alone. */
function originOf({ origin, referer }: Headers): string | undefined {
  if (origin !== undefined) return origin;
  return referer !== undefined && URL.canParse(referer) ? new URL(referer).origin : undefined;
}
