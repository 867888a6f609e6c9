import type { Plain, RowSet } from '../store/index.ts';

/**
 * How an answer is written.
 *  - `json`: one array of objects
 *  - `ndjson`: one object a line
 *  - `csv`: RFC 4180 with a header; NULL is empty, an empty string is `""`
 *  - `arrow`: the stream of Apache Arrow's IPC, with exact types
 *  - `parquet`: a file, with exact types; nothing of it is sent before all of it is made
 *  - `rows`: a line with the columns, then one array a line; for programs that draw tables
 */
export const formats = ['json', 'ndjson', 'csv', 'arrow', 'parquet', 'rows'] as const;
export type Format = (typeof formats)[number];

/** A piece of an answer, and how many rows it has. */
export type Piece = { readonly data: string | Uint8Array; readonly rows: number };

/** The answer as text, in pieces. */
export async function* writeRows(
  set: RowSet,
  format: 'json' | 'ndjson' | 'csv' | 'rows',
): AsyncGenerator<Piece> {
  const names = set.columns.map(({ name }) => name);
  if (format === 'csv') yield { data: csvLine(names), rows: 0 };
  if (format === 'rows') yield { data: `${JSON.stringify(set.columns)}\n`, rows: 0 };
  if (format === 'json') yield { data: '[', rows: 0 };
  let isFirst = true;
  for await (const rows of set.rows) {
    let data = '';
    for (const row of rows) {
      if (format === 'csv') data += csvLine(row);
      else if (format === 'rows') data += `[${row.map(jsonText).join(',')}]\n`;
      else if (format === 'ndjson') data += `${objectText(names, row)}\n`;
      else data += `${isFirst ? '\n' : ',\n'}${objectText(names, row)}`;
      isFirst = false;
    }
    yield { data, rows: rows.length };
  }
  if (format === 'json') yield { data: isFirst ? ']\n' : '\n]\n', rows: 0 };
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
