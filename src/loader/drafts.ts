import type { CellValue, Column, ColumnType, Rows, Values } from '../store/index.ts';
import type { Fit } from './fit.ts';

/** A column while a batch is made, and its values once there are some. */
export type ColumnDraft = { column: Column; values: Values | undefined };

/** Puts a value that fits into a row. */
export function put(
  rows: Rows,
  draft: ColumnDraft,
  { column, text }: Extract<Fit, { kind: 'text' }>,
): void {
  if (column) draft.column = { ...draft.column, ...column };
  const { name, type } = draft.column;
  draft.values ??= rows.column(name, type);
  if (draft.values.type !== type) draft.values.widen();
  draft.values.add(rows.count, valueOf(type, text));
}

/** The value that a JSON text of a column's type means. */
function valueOf(type: ColumnType, text: string): NonNullable<CellValue> {
  switch (type) {
    case 'BIGINT':
      return BigInt(text);
    case 'DOUBLE':
      return Number(text);
    case 'BOOLEAN':
      return text === 'true';
    case 'VARCHAR':
    case 'JSON':
      return text.includes('\\') ? (JSON.parse(text) as string) : text.slice(1, -1);
  }
}
