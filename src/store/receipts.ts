import { offsetBits, offsetDigits } from '../event/index.ts';

/** The SQL that turns a number of `receiptNumber` into what people see. */
export function receiptSql(column: string): string {
  // With a one before them all digits are there; much faster than a format.
  return `concat(${column} >> ${offsetBits}, '-',
    right((1${'0'.repeat(offsetDigits)} + (${column} & ${2n ** offsetBits - 1n}))::VARCHAR,
      ${offsetDigits}))`;
}

/** The SQL of a receipt's shard and offset. */
export function receiptParts(column: string): string {
  return `${column} >> ${offsetBits} AS shard, ${column} & ${2n ** offsetBits - 1n} AS "offset"`;
}
