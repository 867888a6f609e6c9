import { type Clock, type ProgressReport, systemClock } from '../base/index.ts';
import { bytes, color } from './render.ts';

const redrawEveryMs = 100;
const clearLine = '\r\u001B[K';

type Options = {
  /** Of what, in the plural: `rows`, `events`; `bytes` are shown as KiB, MiB … */
  readonly unit: string;
  /** How many there will be, if that is known. */
  readonly total?: number | undefined;
  /** Print lines of JSON on standard output, in place of a line that changes. */
  readonly json?: boolean;
  readonly terminal?: Pick<NodeJS.WriteStream, 'isTTY' | 'write'>;
  readonly clock?: Clock;
  readonly print?: (line: string) => void;
};

/**
 * How far something is that takes long: one line of a terminal, with rate and time left, which is
 * gone at the end. Without a terminal it says nothing; with `json` it prints lines such as
 * `{"progress":{"done":5,"total":10,"unit":"rows"}}`.
 */
export class Progress {
  readonly #what: string;
  readonly #options: Required<Omit<Options, 'total' | 'unit'>>;
  #report: ProgressReport;
  readonly #startedAtMs: number;
  /** What was done before we began: it tells nothing of the rate. */
  #doneBefore: number | undefined;
  #drawnAtMs = Number.NEGATIVE_INFINITY;
  #isDrawn = false;

  /** @param what happens, for people: `exporting shop.orders`. */
  constructor(what: string, options: Options) {
    const { unit, total, ...rest } = options;
    const fallback = { json: false, terminal: process.stderr, clock: systemClock };
    this.#options = { ...fallback, print: (line) => console.log(line), ...rest };
    this.#what = what;
    this.#report = { done: 0, total, unit };
    this.#startedAtMs = this.#options.clock.nowMs();
  }

  /** Some more are done. */
  step(count = 1): void {
    this.#doneBefore ??= 0;
    this.show({ ...this.#report, done: this.#report.done + count });
  }

  /** So many are done, as an operation reports it. */
  readonly show = (report: ProgressReport): void => {
    this.#doneBefore ??= report.done;
    this.#report = report;
    const { clock, json, terminal, print } = this.#options;
    const nowMs = clock.nowMs();
    if (Math.abs(nowMs - this.#drawnAtMs) < redrawEveryMs) return;
    if (json) print(JSON.stringify({ progress: report }));
    else if (terminal.isTTY) terminal.write(clearLine + color('dim', this.#line(nowMs)));
    this.#drawnAtMs = nowMs;
    this.#isDrawn = !json && terminal.isTTY;
  };

  /** Takes the line away. */
  end(): void {
    if (this.#isDrawn) this.#options.terminal.write(clearLine);
    this.#isDrawn = false;
  }

  #line(nowMs: number): string {
    const { done, total, unit } = this.#report;
    const amount = (number: number) =>
      unit === 'bytes' ? bytes(number) : Math.round(number).toLocaleString('en');
    const noun = unit === 'bytes' ? '' : ` ${unit}`;
    const seconds = (nowMs - this.#startedAtMs) / 1000;
    const rate = seconds > 0 ? (done - (this.#doneBefore ?? 0)) / seconds : 0;
    const parts = [this.#what];
    if (total === undefined) parts.push(`${amount(done)}${noun}`);
    else {
      parts.push(`${total > 0 ? Math.floor((100 * done) / total) : 100} %`);
      parts.push(`${amount(done)} of ${amount(total)}${noun}`);
    }
    if (rate > 0) parts.push(`${amount(rate)}${noun}/s`);
    if (rate > 0 && total !== undefined && total >= done) {
      parts.push(`${durationText((total - done) / rate)} left`);
    }
    return parts.join('  ');
  }
}

/** `8 s`, `2:05 min`, `1:02 h`. */
function durationText(seconds: number): string {
  const whole = Math.ceil(seconds);
  const two = (number: number) => String(Math.floor(number)).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)} min`;
  return `${Math.floor(whole / 3600)}:${two((whole % 3600) / 60)} h`;
}
