import { fault } from '../base/index.ts';

/*
 * What people type, checked.
 */

const unitMs: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000 };

/** A time: ISO 8601, or so long ago (90m, 24h, 7d). As ISO 8601. @throws BAD_USAGE */
export function timeOf(text: string, option: string, nowMs: number): string {
  const [, amount, unit = ''] = /^(\d{1,6})([dhm])$/.exec(text) ?? [];
  const ms = amount ? nowMs - Number(amount) * (unitMs[unit] ?? 0) : Date.parse(text);
  if (Number.isNaN(ms) || (!amount && !/^\d{4}-\d\d-\d\d/.test(text))) {
    const seen = `${option}: "${text.slice(0, 80)}" is no time`;
    throw fault('BAD_USAGE', { seen, hint: 'A time looks like 24h or 2026-11-23T12:00Z' });
  }
  return new Date(ms).toISOString();
}

/** A span of time such as 90d, 12h or 30m, as seconds. @throws BAD_USAGE */
export function secondsOf(text: string): number {
  const [, amount, unit = ''] = /^([1-9]\d{0,5})([dhm])$/.exec(text) ?? [];
  if (amount) return (Number(amount) * (unitMs[unit] ?? 0)) / 1000;
  const seen = `"${text.slice(0, 80)}" is no span of time`;
  throw fault('BAD_USAGE', { seen, hint: 'A span looks like 90d, 12h or 30m' });
}

/** `db.table`. @throws BAD_USAGE */
export function tableNameOf(text: string): { readonly database: string; readonly table: string } {
  const [, database, table] = /^(\w+)\.(\w+)$/.exec(text.toLowerCase()) ?? [];
  if (database !== undefined && table !== undefined) return { database, table };
  const seen = `"${text.slice(0, 80)}" is no table: expected database.table`;
  throw fault('BAD_USAGE', { seen, hint: 'For example: shop.orders' });
}
