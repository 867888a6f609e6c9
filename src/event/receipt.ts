import { assert } from '../base/index.ts';

/** An event's place in the log, which names it for ever. */
export type Receipt = { readonly shard: number; readonly offset: number };

export const offsetBits = 48n;
export const offsetDigits = 15;
const shardMax = 2 ** 14;
const offsetMax = 2 ** Number(offsetBits);
const twoTo32 = 2 ** 32;

/** A receipt as the store keeps it: shard and offset in one 64-bit integer, as digits. */
export function receiptNumber(shard: number, offset: number): string {
  assert(shard < shardMax && offset < offsetMax, 'a receipt fits in 64 bits');
  return shard === 0 ? String(offset) : String((BigInt(shard) << offsetBits) | BigInt(offset));
}

/** The same integer without its text: its low and its high 32 bits. */
export function receiptLow(offset: number): number {
  return offset | 0;
}

export function receiptHigh(shard: number, offset: number): number {
  assert(shard < shardMax && offset < offsetMax, 'a receipt fits in 64 bits');
  return shard * 2 ** 16 + Math.floor(offset / twoTo32);
}

/** A range of receipts: the one before `+`, and all up to so many bytes behind it. */
export function parseReceipt(text: string): (Receipt & { readonly bytes: number }) | undefined {
  const [, shard, offset, bytes = '1'] = /^(\d{1,5})-(\d{1,15})(?:\+(\d{1,8}))?$/.exec(text) ?? [];
  const receipt = { shard: Number(shard), offset: Number(offset), bytes: Number(bytes) };
  const isOne = receipt.shard < shardMax && receipt.offset < offsetMax;
  return isOne && receipt.bytes > 0 ? receipt : undefined;
}

/** A receipt as people see it: `<shard>-<offset>`; those of a shard sort in their order. */
export function receiptText(shard: number, offset: number): string {
  return `${shard}-${String(offset).padStart(offsetDigits, '0')}`;
}
