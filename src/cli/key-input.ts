import { fault, limits, MillraceError } from '../base/index.ts';
import { checkDatabase, checkTable } from '../event/index.ts';
import { checkPattern, type NewKey } from '../keys/index.ts';

/*
 * What people say about a key, checked.
 */

type Given = {
  readonly database?: string | undefined;
  readonly table?: string | undefined;
  readonly name?: string | undefined;
  readonly origins?: readonly string[] | undefined;
  readonly strictKey: boolean;
  readonly expires?: string | undefined;
};

/** What a new key may do. @throws BAD_USAGE, BAD_NAME, BAD_PATTERN, RESERVED_NAME */
export function newKeyOf(given: Given, command: string, nowMs: number): NewKey {
  const { database, table, name, origins, strictKey, expires } = given;
  if (database === undefined) {
    throw fault('BAD_USAGE', {
      seen: '--database is missing: which database may the key write to?',
      hint: `For example: millrace keys ${command} --database shop`,
    });
  }
  return {
    database: databaseOf(database),
    name,
    table: table === undefined ? undefined : tableOf(table),
    origins: origins && originsOf(origins),
    strict: strictKey || undefined,
    expiresAt: expires === undefined ? undefined : endOf(expires, '--expires', nowMs),
  };
}

export function databaseOf(raw: string): string {
  return checked(raw.includes('*') ? checkPattern('database', raw) : checkDatabase(raw));
}

/** Undefined for any. */
export function tableOf(raw: string): string | undefined {
  if (raw === '*') return undefined;
  return checked(raw.includes('*') ? checkPattern('table', raw) : checkTable(raw));
}

/** Undefined for any. */
export function originsOf(raw: readonly string[]): string[] | undefined {
  if (raw.length === 1 && raw[0] === '*') return undefined;
  const hint = 'An origin looks like https://shop.example';
  if (raw.length === 0) throw fault('BAD_USAGE', { seen: '--origins names no origin', hint });
  const wrong = raw.find((text) => !URL.canParse(text) || new URL(text).origin !== text);
  if (wrong === undefined) return [...raw];
  throw fault('BAD_USAGE', { seen: `--origins: "${wrong}" is no origin`, hint });
}

const unitMs: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000 };

/** The end that is meant, ISO 8601 in UTC; undefined for never. */
export function endOf(text: string, flag: string, nowMs: number): string | undefined {
  if (text === 'never') return undefined;
  const ms = unitMs[text.at(-1) ?? ''];
  const endMs = ms === undefined ? Date.parse(text) : nowMs + parseInt(text, 10) * ms;
  if (endMs > nowMs) return new Date(endMs).toISOString();
  const hint = 'To end a key now: millrace keys revoke ID';
  throw fault('BAD_USAGE', { seen: `${flag} ${text} is in the past`, hint });
}

/** The one line of standard input. @throws BAD_USAGE, BAD_KEY_FORM */
export async function keyFromInput(): Promise<string> {
  const { stdin, stderr } = process;
  if (stdin.isTTY) stderr.write('Write key: ');
  let text = '';
  for await (const chunk of stdin.setEncoding('utf8')) {
    text += String(chunk);
    const hasEnded = stdin.isTTY && text.endsWith('\n');
    if (hasEnded || text.length > 2 * limits.keyBytesMax) break;
  }
  const key = text.replace(/\r?\n$/, '');
  const hint = 'For example: printf \'%s\' "$KEY" | millrace keys import --database shop';
  if (key === '') throw fault('BAD_USAGE', { seen: 'no key on standard input', hint });
  const seen = Buffer.byteLength(key);
  if (seen > limits.keyBytesMax) {
    throw fault('BAD_KEY_FORM', { seen, expected: limits.keyBytesMax });
  }
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw fault('BAD_USAGE', {
    seen: 'not a key on standard input: expected one line of ASCII, no white space',
    hint,
  });
}

function checked(name: string | MillraceError): string {
  if (name instanceof MillraceError) throw name;
  return name;
}
