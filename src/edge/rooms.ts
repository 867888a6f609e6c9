import { limits } from '../base/index.ts';

const { smallBodyBytesMax, roomStepBytes, roomBytesMax, roomBytesKeptMax } = limits;

/**
 * Memory for what is large and gone soon, used again and again. What is new for each request has
 * the garbage collector look through all there is, many times a second.
 */
export class Rooms {
  /** Those that nobody uses, by their length. */
  readonly #free = new Map<number, Buffer[]>();
  #freeBytes = 0;

  /** Room for so many bytes, or more; something may stand in it. */
  take(bytes: number): Buffer {
    if (!isKept(bytes)) return Buffer.allocUnsafeSlow(bytes);
    const length = Math.ceil(bytes / roomStepBytes) * roomStepBytes;
    const room = this.#free.get(length)?.pop();
    if (!room) return Buffer.allocUnsafeSlow(length);
    this.#freeBytes -= length;
    return room;
  }

  /** Takes back what was taken. Nobody may look into it from now on. */
  give(room: Buffer): void {
    const { length } = room;
    if (!isKept(length) || this.#freeBytes + length > roomBytesKeptMax) return;
    const free = this.#free.get(length);
    if (free) free.push(room);
    else this.#free.set(length, [room]);
    this.#freeBytes += length;
  }
}

function isKept(bytes: number): boolean {
  return bytes > smallBodyBytesMax && bytes <= roomBytesMax;
}
