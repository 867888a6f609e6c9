import { copyBytes, spare, writeLength } from './rows.ts';

const lengthBytes = 4;
const [minus, zero] = [0x2d, 0x30];
/** Of an entry: that it goes on with a list; that there is a list; that a text is there. */
const [goesOn, isList, isText] = [1, 2, 4];

/** Lists of texts, one after another; a text may be missing. */
export class Lists {
  readonly type = 'VARCHAR';
  #bytes = spare.take(0);
  #end = 0;
  /** An entry for each text, also for one that is missing, and for each list without any. */
  #marks = spare.take(0);
  #entries = 0;
  #isBegun = false;

  get entries(): number {
    return this.#entries;
  }

  /** Texts behind their lengths. */
  get data(): Buffer {
    return this.#bytes.subarray(0, this.#end);
  }

  /** Of each entry whether it goes on with the list before it, as bits, the first one lowest. */
  get repetitions(): Uint8Array {
    const bits = new Uint8Array(Math.ceil(this.#entries / 8));
    for (let entry = 0; entry < this.#entries; entry += 1) {
      bits[entry >> 3]! |= (this.#marks[entry]! & goesOn) << (entry & 7);
    }
    return bits;
  }

  /** Of each entry, in two bits: 0 no entry of a list, 1 a missing text, 2 a text. */
  get definitions(): Uint8Array {
    const bits = new Uint8Array(2 * Math.ceil(this.#entries / 8));
    for (let entry = 0; entry < this.#entries; entry += 1) {
      const mark = this.#marks[entry]!;
      bits[entry >> 2]! |= (mark & isText ? 2 : mark & isList ? 1 : 0) << (2 * (entry & 3));
    }
    return bits;
  }

  /** Adds UTF-8 from `from` on, before `to`, to the list that has begun. */
  addBytes(source: Buffer, from: number, to: number): void {
    const at = this.#textAt(to - from);
    copyBytes(source, from, to, this.#bytes, at);
  }

  /** Adds a text of ASCII. */
  addPlain(text: string): void {
    const at = this.#textAt(text.length);
    for (let index = 0; index < text.length; index += 1) {
      this.#bytes[at + index] = text.charCodeAt(index);
    }
  }

  /** Adds the text of an integer; a number is exact. */
  addInteger(value: number | bigint): void {
    if (typeof value === 'bigint') return this.addPlain(String(value));
    const isNegative = value < 0;
    let rest = Math.abs(value);
    let digits = 1;
    for (let above = 10; above <= rest; above *= 10) digits += 1;
    const length = isNegative ? digits + 1 : digits;
    const from = this.#textAt(length);
    if (isNegative) this.#bytes[from] = minus;
    for (let at = from + length - 1; digits > 0; digits -= 1, at -= 1) {
      const above = Math.floor(rest / 10);
      // In this order: at the edge of what is exact, `zero` more would not be.
      this.#bytes[at] = zero + (rest - above * 10);
      rest = above;
    }
  }

  addMissing(): void {
    this.#mark(isList);
  }

  /** The next text begins another list. */
  endList(): void {
    if (!this.#isBegun) this.#mark(0);
    this.#isBegun = false;
  }

  /** Gives the memory to others. */
  release(): void {
    spare.give(this.#bytes);
    spare.give(this.#marks);
  }

  #mark(mark: number): void {
    if (this.#entries === this.#marks.length) this.#marks = larger(this.#marks, this.#entries + 1);
    this.#marks[this.#entries] = this.#isBegun ? mark | goesOn : mark;
    this.#entries += 1;
    this.#isBegun = true;
  }

  /** Where a text of this length goes. */
  #textAt(length: number): number {
    this.#mark(isList | isText);
    const at = this.#end + lengthBytes;
    this.#end = at + length;
    if (this.#end > this.#bytes.length) this.#bytes = larger(this.#bytes, this.#end);
    writeLength(this.#bytes, at - lengthBytes, length);
    return at;
  }
}

function larger(bytes: Buffer, least: number): Buffer {
  const more = spare.take(least);
  more.set(bytes);
  spare.give(bytes);
  return more;
}
