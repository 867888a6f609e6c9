import { limits } from '../base/index.ts';
import { decodeSubmission, type Receipt } from '../event/index.ts';
import type { KeyRing } from '../keys/index.ts';
import type { Account, Store } from '../store/index.ts';
import { judge } from './batch.ts';
import type { Shard } from './shard.ts';
import { minuteOf } from './tally.ts';

type Waiting = Receipt & Account & { readonly events: number };

/** The events that are in the log only, from its oldest on, as far as that is little to read. */
export async function waitingIn(
  shards: readonly Shard[],
  keys: KeyRing,
  store: Store,
): Promise<readonly Waiting[]> {
  const rows: Waiting[] = [];
  for (const { shard, reader, cursor, durable } of shards) {
    if (cursor === durable) continue;
    const beside = await reader.another();
    try {
      for (let at = cursor; at < durable && at - cursor < limits.waitingBytesMax; ) {
        const { records, next } = await beside.read(at, durable, limits.batchBytesMax);
        for (const { offset, record } of records) rows.push(...linesOf({ shard, offset }, record));
        at = next;
      }
    } catch {
      // Dropped meanwhile, or not to be read: it is not shown, and the loader says why.
    } finally {
      await beside.close();
    }
  }
  return rows;

  function linesOf(receipt: Receipt, record: Buffer): Iterable<Waiting> {
    const lines = new Map<string, Waiting>();
    for (const { postback } of decodeSubmission(record)) {
      const { database, table, receivedAtMs } = postback;
      const { keyId, refusal } = judge(keys, postback);
      const isKnown = refusal === undefined || store.schema(database, table) !== undefined;
      const place = isKnown ? { database, table } : { database: '*', table: '*' };
      const account = { minute: minuteOf(receivedAtMs), ...place, keyId };
      const name = `${account.database}.${account.table}`;
      const events = (lines.get(name)?.events ?? 0) + 1;
      lines.set(name, { ...receipt, ...account, events });
    }
    return lines.values();
  }
}
