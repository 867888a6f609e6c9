import { offsetBits, offsetDigits } from '../event/index.ts';

/** The SQL that turns a number of `receiptNumber` into what people see. */
export function receiptSql(column: string): string {
  return `printf('%d-%0${offsetDigits}d', ${column} >> ${offsetBits},
    ${column} & ${2n ** offsetBits - 1n})`;
}

/** The SQL of a receipt's shard and offset. */
export function receiptParts(column: string): string {
  return `${column} >> ${offsetBits} AS shard, ${column} & ${2n ** offsetBits - 1n} AS "offset"`;
}
