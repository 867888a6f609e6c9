import { endianness } from 'node:os';
import { assert, limits } from '../base/index.ts';

/** JSON is text that is known to be JSON. */
export type ColumnType = 'BIGINT' | 'DOUBLE' | 'BOOLEAN' | 'VARCHAR' | 'JSON';

/** A value of a row, as it is stored; undefined for none. */
export type CellValue = bigint | number | boolean | string | undefined;

const lengthBytes = 4;
/** The least buffer: many columns of many tables have few values. */
const spareBytesMin = 512;
/** What a column that rests keeps at most. */
const restBytesMax = 2 * spareBytesMin;
/** Bytes of the least bits, one for each row. */
const presentBytesMin = 64;
const numberBytes = 8;
/** Longer texts are copied by the runtime: a loop of ours is faster below. */
const loopMax = 48;
const twoTo32 = 2 ** 32;

/**
 * Rows of one table on their way to the store, column by column. Values are bytes as the engine
 * reads them, so that nothing is kept for each row.
 */
export class Rows {
  readonly #values = new Map<string, Values>();
  /** Columns of rows that were here before, for the next ones. */
  readonly #resting = new Map<string, Values>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Bytes of all values. */
  get bytes(): number {
    let bytes = 0;
    for (const values of this.#values.values()) bytes += values.dataBytes;
    return bytes;
  }

  /** What rows have had values in. */
  get columns(): ReadonlyMap<string, Values> {
    return this.#values;
  }

  /** The values of a column, which is new if there is none of this name. */
  column(name: string, type: ColumnType): Values {
    const known = this.#values.get(name);
    if (known) return known;
    const values = this.#resting.get(name)?.begin(type) ?? new Values(name, type);
    this.#values.set(name, values);
    return values;
  }

  /** There are no rows here then; the next ones cost less in the same columns. */
  clear(): void {
    for (const [name, values] of this.#values) {
      values.rest();
      this.#resting.set(name, values);
    }
    this.#values.clear();
    this.#count = 0;
  }

  /** Ends the row with the number `count`: what was added with it is in it. */
  endRow(): void {
    this.#count += 1;
  }

  /** Takes back what was added of the row with the number `count`. */
  undoRow(): void {
    for (const values of this.#values.values()) values.undo(this.#count);
  }

  /** The rows from `from` on, before `to`, that are not among `leaveOut`; in their order. */
  slice(from: number, to: number, leaveOut: ReadonlySet<number> = new Set()): Rows {
    const rows = new Rows();
    const columns = [...this.#values.values()];
    const cells = columns.map((values) => values.cells(this.#count));
    for (let row = from; row < to; row += 1) {
      if (leaveOut.has(row)) continue;
      for (const [index, { name, type }] of columns.entries()) {
        const value = cells[index]?.[row];
        if (value !== undefined) rows.column(name, type).add(rows.count, value);
      }
      rows.endRow();
    }
    return rows;
  }

  /** Gives the memory to others; there are no rows here then. */
  release(): void {
    for (const values of this.#values.values()) values.release();
    for (const values of this.#resting.values()) values.release();
    this.#values.clear();
    this.#resting.clear();
    this.#count = 0;
  }

  /** The values of each row, in the order of `columns`. */
  cells(): readonly (readonly CellValue[])[] {
    const columns = [...this.#values.values()].map((values) => values.cells(this.#count));
    return Array.from({ length: this.#count }, (_, row) => columns.map((cells) => cells[row]));
  }
}

/**
 * Buffers of rows that are stored, for the next ones: fresh ones would have the runtime collect
 * garbage all the while.
 */
class Spare {
  readonly #buffers = new Map<number, Buffer[]>();
  #bytes = 0;

  /** A buffer of at least so many bytes; what is in it is of no account. */
  take(least: number): Buffer {
    const bytes = 2 ** Math.ceil(Math.log2(Math.max(spareBytesMin, least)));
    const buffer = this.#buffers.get(bytes)?.pop();
    if (buffer) this.#bytes -= bytes;
    return buffer ?? Buffer.allocUnsafeSlow(bytes);
  }

  give(buffer: Buffer): void {
    if (this.#bytes + buffer.length > limits.spareBytesMax) return;
    const buffers = this.#buffers.get(buffer.length) ?? [];
    this.#buffers.set(buffer.length, buffers);
    this.#bytes += buffer.length;
    buffers.push(buffer);
  }
}

export const spare = new Spare();

/** The values of one column, those of a row after those of the row before. */
export class Values {
  readonly name: string;
  #type: ColumnType;
  /** Views of one buffer: numbers of 8 bytes, texts behind their length of 4, booleans as bits. */
  #bytes: Buffer;
  #integers: Int32Array;
  #doubles: Float64Array;
  /** Bytes that are filled, but for booleans, and before the last value. */
  #end = 0;
  #endBefore = 0;
  #count = 0;
  /** What was filled the last time. */
  #usualBytes = 0;
  /** A bit for each row: whether it has a value. */
  #present = new Uint8Array(presentBytesMin);
  /** The last row that has a value, -1 for none. */
  #lastRow = -1;

  constructor(name: string, type: ColumnType) {
    this.name = name;
    this.#type = type;
    this.#bytes = spare.take(0);
    this.#integers = new Int32Array(this.#bytes.buffer);
    this.#doubles = new Float64Array(this.#bytes.buffer);
  }

  get type(): ColumnType {
    return this.#type;
  }

  /** How many values there are. */
  get count(): number {
    return this.#count;
  }

  get lastRow(): number {
    return this.#lastRow;
  }

  /** The values one after another, as above. */
  get data(): Buffer {
    return this.#bytes.subarray(0, this.dataBytes);
  }

  get dataBytes(): number {
    return this.#type === 'BOOLEAN' ? Math.ceil(this.#count / 8) : this.#end;
  }

  /** A bit for each of so many rows, the first one lowest: whether it has a value. */
  present(rows: number): Uint8Array {
    const bytes = new Uint8Array(Math.ceil(rows / 8));
    bytes.set(this.#present.subarray(0, bytes.length));
    return bytes;
  }

  /** For a BIGINT: 64 bits in two's complement. */
  addInteger(row: number, low: number, high: number): void {
    const at = this.#numberAt();
    this.#integers[2 * at] = low;
    this.#integers[2 * at + 1] = high;
    this.#mark(row, this.#end + numberBytes);
  }

  /** For a BIGINT: an integer that is exact as a number. */
  addSafeInteger(row: number, value: number): void {
    this.addInteger(row, value | 0, Math.floor(value / twoTo32));
  }

  addDouble(row: number, value: number): void {
    // Only then is the memory looked up: it may have grown.
    const at = this.#numberAt();
    this.#doubles[at] = value;
    this.#mark(row, this.#end + numberBytes);
  }

  addBoolean(row: number, value: boolean): void {
    const at = this.#count >> 3;
    if (at >= this.#bytes.length) this.#grow(at + 1);
    const bit = 1 << (this.#count & 7);
    const byte = this.#bytes[at] ?? 0;
    this.#bytes[at] = value ? byte | bit : byte & ~bit;
    this.#mark(row, 0);
  }

  /** For a VARCHAR or JSON: the UTF-8 in `source` from `from` on, before `to`. */
  addText(row: number, source: Buffer, from: number, to: number): void {
    const length = to - from;
    const at = this.#textAt(length);
    copyBytes(source, from, to, this.#bytes, at);
    this.#mark(row, at + length);
  }

  /** Any value that is one of the column's type. */
  add(row: number, value: NonNullable<CellValue>): void {
    if (typeof value === 'string') {
      const length = Buffer.byteLength(value);
      const at = this.#textAt(length);
      this.#bytes.write(value, at);
      this.#mark(row, at + length);
    } else if (typeof value === 'bigint') {
      this.addInteger(row, Number(BigInt.asIntN(32, value)), Number(value >> 32n));
    } else if (typeof value === 'boolean') this.addBoolean(row, value);
    else this.addDouble(row, value);
  }

  /** Takes back the value of a row, which no other follows, if there is one. */
  undo(row: number): void {
    if (this.#lastRow !== row) return;
    this.#lastRow = -1;
    this.#end = this.#endBefore;
    this.#count -= 1;
    this.#present[row >> 3]! &= ~(1 << (row & 7));
  }

  /** Makes a column of BIGINT one of DOUBLE. Every value must be exact as such. */
  widen(): void {
    assert(this.#type === 'BIGINT', 'only a BIGINT becomes a DOUBLE');
    this.#type = 'DOUBLE';
    const integers = new BigInt64Array(this.#bytes.buffer, 0, this.#count);
    for (let at = 0; at < this.#count; at += 1) this.#doubles[at] = Number(integers[at]);
  }

  /** Whether a row has a value. */
  has(row: number): boolean {
    return ((this.#present[row >> 3] ?? 0) & (1 << (row & 7))) !== 0;
  }

  /** The values of so many rows. */
  cells(rows: number): readonly CellValue[] {
    const cursor = new Cursor(this);
    return Array.from({ length: rows }, (_, row) => {
      return cursor.goTo(row) ? cursor.value : undefined;
    });
  }

  /** Gives the memory to others; nothing is here then. */
  release(): void {
    spare.give(this.#bytes);
    this.#bytes = Buffer.alloc(0);
    this.#forget();
  }

  /** No rows have values here until it begins again; what is much memory is for others. */
  rest(): void {
    if (this.#bytes.length > restBytesMax) {
      spare.give(this.#bytes);
      this.#hold(spare.take(0));
    }
    if (this.#present.length > presentBytesMin) this.#present = new Uint8Array(presentBytesMin);
    else this.#present.fill(0);
    this.#forget();
  }

  begin(type: ColumnType): this {
    this.#type = type;
    return this;
  }

  #forget(): void {
    this.#usualBytes = this.#end;
    this.#count = 0;
    this.#end = 0;
    this.#lastRow = -1;
  }

  #hold(bytes: Buffer): void {
    this.#bytes = bytes;
    this.#integers = new Int32Array(bytes.buffer);
    this.#doubles = new Float64Array(bytes.buffer);
  }

  #mark(row: number, end: number): void {
    const at = row >> 3;
    if (at >= this.#present.length) {
      const present = new Uint8Array(2 * at + 2);
      present.set(this.#present);
      this.#present = present;
    }
    this.#present[at]! |= 1 << (row & 7);
    this.#endBefore = this.#end;
    this.#end = end;
    this.#count += 1;
    this.#lastRow = row;
  }

  #numberAt(): number {
    if (this.#end + numberBytes > this.#bytes.length) this.#grow(this.#end + numberBytes);
    return this.#end / numberBytes;
  }

  /** Writes a length; returns where its text goes. */
  #textAt(length: number): number {
    const at = this.#end + lengthBytes;
    if (at + length > this.#bytes.length) this.#grow(at + length);
    writeLength(this.#bytes, at - lengthBytes, length);
    return at;
  }

  #grow(least: number): void {
    // Most likely it will be about as much as the last time.
    const bytes = spare.take(Math.max(least, this.#usualBytes));
    bytes.set(this.#bytes);
    spare.give(this.#bytes);
    this.#hold(bytes);
  }
}

/** As the runtime's own method, which is called for each value and is slower. */
export function writeLength(bytes: Buffer, at: number, length: number): void {
  bytes[at] = length & 0xff;
  bytes[at + 1] = (length >> 8) & 0xff;
  bytes[at + 2] = (length >> 16) & 0xff;
  bytes[at + 3] = length >> 24;
}

/** Copies the bytes in `source` from `from` on, before `to`. */
export function copyBytes(source: Buffer, from: number, to: number, into: Buffer, at: number) {
  const length = to - from;
  if (length > loopMax) source.copy(into, at, from, to);
  else for (let index = 0; index < length; index += 1) into[at + index] = source[from + index]!;
}

/** Goes through the values of a column, row by row from the first one on. */
export class Cursor {
  /** A value's bytes are there from `from` on, before `to`; of a text without its length. */
  readonly bytes: Buffer;
  from = 0;
  to = 0;
  readonly type: ColumnType;
  readonly #values: Values;
  #index = -1;

  constructor(values: Values) {
    this.#values = values;
    this.type = values.type;
    this.bytes = values.data;
  }

  /** Goes to the next row. @returns whether it has a value */
  goTo(row: number): boolean {
    if (!this.#values.has(row)) return false;
    this.#index += 1;
    if (this.type === 'BOOLEAN') return true;
    const isNumber = this.type === 'BIGINT' || this.type === 'DOUBLE';
    this.from = isNumber ? this.to : this.to + lengthBytes;
    this.to = this.from + (isNumber ? numberBytes : this.bytes.readUInt32LE(this.to));
    return true;
  }

  get value(): NonNullable<CellValue> {
    const { type, bytes, from, to } = this;
    switch (type) {
      case 'BIGINT':
        return bytes.readBigInt64LE(from);
      case 'DOUBLE':
        return bytes.readDoubleLE(from);
      case 'BOOLEAN':
        return (bytes[this.#index >> 3]! & (1 << (this.#index & 7))) !== 0;
      case 'VARCHAR':
      case 'JSON':
        return bytes.toString('utf8', from, to);
    }
  }

  /** A BIGINT, which need not be a `bigint` to be exact. */
  get integer(): number | bigint {
    const high = this.bytes.readInt32LE(this.from + 4);
    const isSafe = high >= -(2 ** 21) && high < 2 ** 21;
    return isSafe ? high * twoTo32 + this.bytes.readUInt32LE(this.from) : (this.value as bigint);
  }
}

assert(endianness() === 'LE', 'numbers are little-endian, as the engine reads them');
