import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openRooms } from '../src/app.ts';
import { type Disk, limits, Metrics, nodeDisk } from '../src/base/index.ts';
import { toolsOf } from '../src/tools.ts';
import { eventually } from './support/eventually.ts';
import { configOf } from './support/config.ts';
import { HeldEdge } from './support/held-edge.ts';
import { RawConnection } from './support/raw-connection.ts';
import { recordOf, requestBytes } from './support/requests.ts';
import { createKey, query, temporaryDirectory } from './support/server.ts';

/* The store is down: what is accepted waits in the log for as long as it takes, or is refused. */

const hourMs = 60 * 60 * 1000;
const segmentBytes = 100_000;
/** What the log has of the disk. */
const logRoomBytes = 3_000_000;

test('a store that is down for days loses nothing; beyond the disk: 503', async () => {
  await using folder = await temporaryDirectory();
  const data = folder.path;
  const key = await createKey(data, '*');
  let nowMs = Date.now();
  const clock = { nowMs: () => nowMs };
  const segments = () => readdir(join(data, 'log/0')).then((names) => names.filter(isSegment));
  const disk = { ...nodeDisk, room: () => roomOf(join(data, 'log/0')) };
  let acknowledged = 0;
  const edge = await HeldEdge.open(data, { disk, clock, segmentBytes });
  using connection = await RawConnection.open(edge.url);
  const post = async (bytes: number) => {
    connection.send(requestBytes({ path: '/backlog/events', body: recordOf(bytes) }, key));
    const answer = await connection.response();
    if (answer?.status === 200) acknowledged += 1;
    return answer;
  };

  // Three days: each event has a segment of its own, which is older than any may become.
  for (let hour = 0; hour < 72; hour += 2) {
    expect((await post(1_000))?.status).toBe(200);
    nowMs += Math.max(2 * hourMs, limits.segmentAgeMsMax);
  }
  const kept = await segments();
  expect(kept.length).toBeGreaterThanOrEqual(36);

  // And many events, until there is no room.
  const refused = await eventually('the disk is full', async () => {
    const answer = await post(50_000);
    return answer?.status === 503 && answer;
  });
  expect(refused.head).toMatch(/^Retry-After: [1-9]\d*$/m);
  expect(JSON.parse(refused.body)).toEqual({ error: expect.stringContaining('no room') });
  expect(await segments()).toEqual(expect.arrayContaining([...kept]));

  // The store comes back: all is loaded, the room returns, and the same edge goes on.
  const metrics = new Metrics('store');
  const rooms = await openRooms(configOf(data), { ...toolsOf(configOf(data), 'store'), metrics });
  try {
    await rooms.loader.flush(new Map([[0, edge.mark]]));
    await eventually('events are taken', async () => (await post(1_000))?.status === 200);
    await rooms.loader.flush(new Map([[0, edge.mark]]));
    expect((await segments()).length).toBeLessThan(5);
  } finally {
    await rooms.close();
    await edge[Symbol.asyncDispose]();
  }
  const [stored] = await query(
    data,
    `SELECT count(*)::INTEGER AS rows, count(DISTINCT _receipt)::INTEGER AS receipts,
       (SELECT count(*) FROM millrace.quarantine)::INTEGER AS parked FROM backlog.events`,
  );
  expect(acknowledged).toBeGreaterThan(60);
  expect(stored).toEqual({ rows: acknowledged, receipts: acknowledged, parked: 0 });
});

function isSegment(name: string): boolean {
  return name.endsWith('.seg');
}

/** A disk on which nothing lies but the log. */
async function roomOf(directory: string): ReturnType<Disk['room']> {
  const names = (await readdir(directory)).filter(isSegment);
  // One may be gone meanwhile.
  const sizeOf = (name: string) =>
    stat(join(directory, name)).then(
      ({ size }) => size,
      () => 0,
    );
  const sizes = await Promise.all(names.map(sizeOf));
  const used = sizes.reduce((sum, size) => sum + size, 0);
  return { freeBytes: Math.max(0, logRoomBytes - used), diskBytes: logRoomBytes };
}
