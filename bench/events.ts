/** Length of every event's JSON. */
export const eventBytes = 303;

/** The ids of a run count up from here, so that each has the same number of digits. */
export const firstId = 1_000_000_000;

/** Visits that go on at once, and the events of each. */
const [visitsAtOnce, visitEvents] = [1_000, 10];
const variants = Array.from({ length: 1024 }, (_, variant) => Buffer.from(eventText(variant)));
const [idAt, userAt, sessionAt, priceAt, pathAt] = [
  after('{"id":'),
  after('"user":"user-'),
  after('"session":"'),
  after('"price":'),
  after('"/products/'),
];

/**
 * Writes the event with this id as JSON; the same id gives the same bytes. Each visit has a user
 * and a random session of its own, each event a random price and page.
 */
export function writeEvent(target: Buffer, at: number, id: number): void {
  variants[mixed(id, 0) % variants.length]?.copy(target, at);
  const visit = Math.floor(id / visitsAtOnce / visitEvents) * visitsAtOnce + (id % visitsAtOnce);
  writeDigits(target, at + idAt, 10, id);
  writeDigits(target, at + userAt, 5, mixed(visit, 1) % 100_000);
  for (let word = 0; word < 4; word += 1) {
    writeHex(target, at + sessionAt + 8 * word, mixed(visit, 2 + word));
  }
  const cents = 1_000 + (mixed(id, 6) % 9_000);
  writeDigits(target, at + priceAt, 2, Math.floor(cents / 100));
  writeDigits(target, at + priceAt + 3, 2, cents % 100);
  writeDigits(target, at + pathAt, 4, mixed(id, 7) % 5_000);
}

function writeDigits(target: Buffer, at: number, digits: number, value: number): void {
  let rest = value;
  for (let digit = at + digits - 1; digit >= at; digit -= 1) {
    target[digit] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}

function writeHex(target: Buffer, at: number, word: number): void {
  for (let digit = 0; digit < 8; digit += 1) {
    target[at + digit] = '0123456789abcdef'.charCodeAt((word >>> (4 * digit)) & 15);
  }
}

/** Where all variants have what follows a text. */
function after(text: string): number {
  return eventText(0).indexOf(text) + text.length;
}

/** 32 bits of a value that look random. */
function mixed(value: number, salt: number): number {
  let hash = Math.imul(value ^ Math.imul(salt + 1, 0x9e3779b9), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Ten fields of mixed types, the digits to be filled in; the last one fills up to `eventBytes`. */
function eventText(variant: number): string {
  const number = (salt: number, below: number) => mixed(variant, 8 + salt) % below;
  const event = {
    id: firstId,
    user: 'user-00000',
    session: '0'.repeat(32),
    price: 10.01,
    page: { path: '/products/0000', tags: ['summer', 'sale'] },
    kind: ['page_view', 'add_to_cart', 'checkout', 'search'][number(0, 4)],
    quantity: number(1, 20),
    is_member: number(2, 2) === 1,
    coupon: number(3, 4) === 0 ? `SAVE${number(4, 50)}` : null,
    agent: '',
  };
  const bytes = Buffer.byteLength(JSON.stringify(event));
  const agent = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 '.repeat(2);
  return JSON.stringify({ ...event, agent: agent.slice(0, eventBytes - bytes) });
}
