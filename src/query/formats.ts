import type { Plain, RowSet } from '../store/index.ts';

/**
 * How an answer is written.
 *  - `json`: one array of objects
 *  - `ndjson`: one object a line
 *  - `csv`: RFC 4180 with a header; NULL is empty, an empty string is `""`
 *  - `rows`: a line with the columns, then one array a line; for programs that draw tables
 */
export const formats = ['json', 'ndjson', 'csv', 'rows'] as const;
export type Format = (typeof formats)[number];

/** The answer as text, in pieces. */
export async function* writeRows(set: RowSet, format: Format): AsyncGenerator<string> {
  const names = set.columns.map(({ name }) => name);
  if (format === 'csv') yield csvLine(names);
  if (format === 'rows') yield `${JSON.stringify(set.columns)}\n`;
  if (format === 'json') yield '[';
  let isFirst = true;
  for await (const rows of set.rows) {
    let text = '';
    for (const row of rows) {
      if (format === 'csv') text += csvLine(row);
      else if (format === 'rows') text += `[${row.map(jsonText).join(',')}]\n`;
      else if (format === 'ndjson') text += `${objectText(names, row)}\n`;
      else text += `${isFirst ? '\n' : ',\n'}${objectText(names, row)}`;
      isFirst = false;
    }
    yield text;
  }
  if (format === 'json') yield isFirst ? ']\n' : '\n]\n';
}

/** By hand, so that a column called `__proto__` or `1` stays where it is. */
function objectText(names: readonly string[], row: readonly Plain[]): string {
  const members = names.map((name, index) => {
    return `${JSON.stringify(name)}:${jsonText(row[index] ?? null)}`;
  });
  return `{${members.join(',')}}`;
}

/** As JSON; a negative zero keeps its sign. */
function jsonText(value: Plain): string {
  return Object.is(value, -0) ? '-0.0' : JSON.stringify(value);
}

function csvLine(values: readonly Plain[]): string {
  return `${values.map(csvValue).join(',')}\r\n`;
}

function csvValue(value: Plain): string {
  if (value === null) return '';
  const text = typeof value === 'string' ? value : jsonText(value);
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
