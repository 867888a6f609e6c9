import { expect, test } from 'vitest';
import { limits } from '../base/index.ts';
import { Rooms } from './rooms.ts';

const { smallBodyBytesMax, roomStepBytes, roomBytesMax, roomBytesKeptMax } = limits;

test('what was given back is taken again, by one at a time, for what has about its length', () => {
  const rooms = new Rooms();
  const first = rooms.take(300_000);
  expect(first.length).toBeGreaterThanOrEqual(300_000);
  expect(rooms.take(300_000)).not.toBe(first);
  rooms.give(first);
  expect(rooms.take(300_000 + 2 * roomStepBytes)).not.toBe(first);
  expect(rooms.take(299_990)).toBe(first);
  expect(rooms.take(299_990)).not.toBe(first);
});

test.each([smallBodyBytesMax, roomBytesMax + 1])('%i bytes are not kept', (bytes) => {
  const rooms = new Rooms();
  const room = rooms.take(bytes);
  expect(room.length).toBe(bytes);
  rooms.give(room);
  expect(rooms.take(bytes)).not.toBe(room);
});

test('no more is kept than the limit', () => {
  const rooms = new Rooms();
  const count = roomBytesKeptMax / roomBytesMax + 3;
  const all = Array.from({ length: count }, () => rooms.take(roomBytesMax));
  for (const room of all) rooms.give(room);
  const again = all.filter(() => all.includes(rooms.take(roomBytesMax)));
  expect(again.length).toBe(count - 3);
});
