import { styleText } from 'node:util';

const cellWidthMax = 60;

/** Colours text when `stream` is a terminal that shows them. */
export function color(
  name: 'red' | 'green' | 'bold' | 'dim',
  text: string,
  stream: NodeJS.WriteStream = process.stdout,
): string {
  return styleText(name, text, { stream });
}

/** Draws a table; numbers to the right. On a terminal long cells are cut. */
export function table(headers: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const isTerminal = process.stdout.isTTY;
  const texts = rows.map((row) => row.map((value) => cellText(value, isTerminal)));
  const widths = headers.map((header, column) =>
    Math.max(header.length, ...texts.map((row) => row[column]?.length ?? 0)),
  );
  const isNumeric = headers.map(
    (_, column) =>
      rows.some((row) => row[column] !== null) &&
      rows.every((row) => row[column] === null || typeof row[column] === 'number'),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return isNumeric[column] ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '─'.repeat(width)).join('  ');
  return [color('bold', line(headers)), color('dim', rule), ...texts.map(line)].join('\n');
}

function cellText(value: unknown, isTerminal: boolean): string {
  if (value === null || value === undefined) return '';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const clean = escaped(text, /\p{Cc}/gu);
  return isTerminal && clean.length > cellWidthMax ? `${clean.slice(0, cellWidthMax - 1)}…` : clean;
}

/** Text of senders for a terminal, line by line. */
export function harmless(text: string): string {
  return escaped(text, /(?![\n\t])\p{Cc}/gu);
}

/** Control characters would move the cursor or start an escape sequence. */
function escaped(text: string, characters: RegExp): string {
  return text.replace(characters, (one) => {
    const asJson = JSON.stringify(one).slice(1, -1);
    return asJson === one ? `\\u00${one.charCodeAt(0).toString(16)}` : asJson;
  });
}

export function bytes(amount: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = amount;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** `1 event`, `2 events`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** UTC, to the second. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
