import { openRooms, type Rooms } from '../src/app.ts';
import type { Plain } from '../src/store/index.ts';

/** The rooms behind the log of a closed data directory, which do nothing by themselves. */
export function quietRooms(data: string): Promise<Rooms> {
  const kept = { quarantineBytes: Number.MAX_SAFE_INTEGER, quarantineDays: 36_500 };
  const quiet = { logLevel: 'error', alarmWebhook: undefined } as const;
  return openRooms({ data, edges: 0, diskReserve: 0, ...kept, ...quiet });
}

/** The rows of a query, as users run it. */
export async function select(rooms: Rooms, sql: string): Promise<readonly (readonly Plain[])[]> {
  const reader = await rooms.store.reader();
  try {
    const found = [];
    for await (const some of (await reader.select(sql)).rows) found.push(...some);
    return found;
  } finally {
    reader.close();
  }
}
