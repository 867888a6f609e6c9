import type { Post } from './actions.ts';
import { requestBytes } from './clients.ts';
import type { Oracle, Request } from './oracle.ts';
import { poison } from './store.ts';

const path = '/postback/v3/event/sim/events';
const keys: Readonly<Record<Post['key'], string>> = {
  good: `1/${'a'.repeat(40)}`,
  unknown: `1/${'b'.repeat(40)}`,
  later: `1/${'c'.repeat(40)}`,
  elsewhere: `1/${'d'.repeat(40)}`,
};

export function keyOf(name: Post['key']): string {
  return keys[name];
}

type Made = { readonly request: Request; readonly bytes: Buffer };

/** Makes what senders send; what has an id is made once, and sent again as it was. */
export class Senders {
  readonly #oracle: Oracle;
  readonly #known = new Map<number, Made>();
  #events = 0;

  constructor(oracle: Oracle) {
    this.#oracle = oracle;
  }

  request(post: Post): Made {
    const known = post.id === undefined ? undefined : this.#known.get(post.id);
    const made = known ?? this.#make(post);
    if (post.id !== undefined) this.#known.set(post.id, made);
    return made;
  }

  #make({ form, sizes, key, id, hasPoison, value, isChunked }: Post): Made {
    const events = sizes.map((size, index) => {
      const name = `e${(this.#events += 1)}`;
      const isPoison = hasPoison === true && index === sizes.length - 1;
      return { id: name, text: eventText(name, size, value, isPoison), hasPoison: isPoison };
    });
    const request = { key, hasId: id !== undefined, events, answers: [] };
    this.#oracle.requests.push(request);
    const texts = events.map(({ text }) => text);
    const body = form === 'array' ? `[${texts.join(', ')}]` : texts.join('\n');
    const type = form === 'lines' ? 'application/x-ndjson' : 'application/json';
    const given = id === undefined ? {} : { 'Idempotency-Key': `sent-${id}` };
    const headers = { 'X-TD-Write-Key': keys[key], 'Content-Type': type, ...given };
    return { request, bytes: requestBytes(path, headers, body, isChunked === true) };
  }
}

/** The text of an event. */
function eventText(id: string, size: number, value: Post['value'], isPoison: boolean): string {
  const values = { integer: size, text: `n${size}`, object: { deep: [size, null] } };
  const pad = isPoison ? poison : '#'.repeat(size);
  return JSON.stringify({ id, pad, value: values[value] });
}
