import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/*
 * The corpus of hard values: one case in each line of test/values/*.jsonl. A case is an event in a
 * table of its own, and what must come of it: a refusal, or every row of the table to the letter.
 */

/** A text, or its parts; `["x", 3]` is `xxx`. `#` in what is repeated is its number, from 0. */
type Text = string | readonly (string | readonly [string, number])[];

type Line = {
  readonly name: string;
  /** Events that the table gets first. */
  readonly before?: readonly Text[];
  readonly body?: Text;
  /** The body, when it is no text. */
  readonly bodyBase64?: string;
  /** A refusal: its status, and a part of what it says. */
  readonly status?: number;
  readonly match?: string;
  /** Every column that is not the server's. `k#3` is `k0`, `k1`, `k2`. */
  readonly types?: Readonly<Record<string, string>>;
  /**
   * By event, what is not NULL, each value as text. `time` is the time of receipt unless it is
   * said; the number of a column `k#3` is `#` in its value.
   */
  readonly rows?: readonly Readonly<Record<string, Text>>[];
};

export type Value = {
  readonly file: string;
  readonly name: string;
  readonly table: string;
  /** In the order in which they are sent; the last one is the case. */
  readonly events: readonly Buffer[];
  readonly refusal: { readonly status: number; readonly match: string } | undefined;
  readonly types: Readonly<Record<string, string>>;
  readonly rows: readonly Readonly<Record<string, string>>[];
};

const folder = fileURLToPath(new URL('../values/', import.meta.url));

/** Every case. `{now-60}` in its texts is a minute before `now`, in UNIX seconds. */
export function readValues(now: number): readonly Value[] {
  const files = readdirSync(folder).filter((name) => name.endsWith('.jsonl'));
  return files.flatMap((file) => {
    const lines = readFileSync(folder + file, 'utf8')
      .trimEnd()
      .split('\n');
    return lines.map((line, index) => {
      const table = `${file.replace('.jsonl', '')}_${index + 1}`;
      return { file, table, ...valueOf(JSON.parse(line) as Line, now) };
    });
  });
}

function valueOf(line: Line, now: number): Omit<Value, 'file' | 'table'> {
  const { name, before = [], body = '', bodyBase64, status, match = '' } = line;
  const texts = [...before, body].map((text) => Buffer.from(spelled(text, now)));
  const last = bodyBase64 === undefined ? [] : [Buffer.from(bodyBase64, 'base64')];
  return {
    name,
    events: [...texts.slice(0, texts.length - last.length), ...last],
    refusal: status === undefined ? undefined : { status, match },
    types: spread(line.types ?? {}, now),
    rows: (line.rows ?? []).map((row) => spread(row, now)),
  };
}

function spread(record: Readonly<Record<string, Text>>, now: number): Record<string, string> {
  const entries = Object.entries(record).flatMap(([name, text]): [string, string][] => {
    const value = spelled(text, now);
    const [, stem, count] = /^(.*)#(\d+)$/.exec(name) ?? [];
    if (stem === undefined) return [[name, value]];
    const all = Array.from({ length: Number(count) }, (_, index) => String(index));
    return all.map((index) => [stem + index, value.replaceAll('#', index)]);
  });
  return Object.fromEntries(entries);
}

function spelled(text: Text, now: number): string {
  const parts = typeof text === 'string' ? [text] : text;
  const whole = parts.map((part) => (typeof part === 'string' ? part : repeated(...part)));
  return whole
    .join('')
    .replace(/\{now([-+]\d+)\}/g, (_, seconds: string) => String(now + Number(seconds)));
}

function repeated(text: string, count: number): string {
  if (!text.includes('#')) return text.repeat(count);
  return Array.from({ length: count }, (_, index) => text.replaceAll('#', String(index))).join('');
}
