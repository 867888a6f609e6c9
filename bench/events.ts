import { createHash } from 'node:crypto';

/** Length of every event's JSON. */
export const eventBytes = 303;

/** The ids of a run count up from here, so that each has the same number of digits. */
export const firstId = 1_000_000_000;

const idDigits = 10;
const idAt = '{"id":'.length;
const variants = Array.from({ length: 1024 }, (_, variant) => Buffer.from(eventText(variant)));

/** Writes the event with this id as JSON; the same id gives the same bytes. */
export function writeEvent(target: Buffer, at: number, id: number): void {
  const variant = variants[id % variants.length];
  variant?.copy(target, at);
  let rest = id;
  for (let digit = at + idAt + idDigits - 1; digit >= at + idAt; digit -= 1) {
    target[digit] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}

/** Ten fields of mixed types; the last one fills up to `eventBytes`. */
function eventText(variant: number): string {
  const random = createHash('sha256').update(String(variant)).digest();
  const number = (at: number, below: number) => random.readUInt32LE(at) % below;
  const event = {
    id: firstId,
    kind: ['page_view', 'add_to_cart', 'checkout', 'search'][number(0, 4)],
    user: `user-${number(4, 100_000)}`,
    session: random.toString('hex', 0, 16),
    price: (number(8, 1_000) * 10 + 5) / 100,
    quantity: number(12, 20),
    is_member: number(16, 2) === 1,
    coupon: number(20, 4) === 0 ? `SAVE${number(24, 50)}` : null,
    page: { path: `/products/${number(28, 5_000)}`, tags: ['summer', 'sale'] },
    agent: '',
  };
  const bytes = Buffer.byteLength(JSON.stringify(event));
  const agent = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 '.repeat(2);
  return JSON.stringify({ ...event, agent: agent.slice(0, eventBytes - bytes) });
}
