import { hash } from 'node:crypto';
import type { Postback } from '../event/index.ts';
import type { EventId } from '../store/index.ts';

/** An event's id within its table, as the store keeps it. @param incarnation of the table. */
export function eventId({ database, table }: Postback, incarnation: string, id: string): EventId {
  const bytes = hash('sha256', `${database}.${table}${incarnation}\0${id}`, 'buffer');
  return { high: bytes.readBigInt64BE(0), low: bytes.readBigInt64BE(8) };
}

/** What tells whether two events of one id are the same. */
export function digestOf({ body }: Postback): bigint {
  return hash('sha256', body, 'buffer').readBigInt64BE(0);
}

/** As a key of a map. */
export function idText({ high, low }: EventId): string {
  return `${high} ${low}`;
}
