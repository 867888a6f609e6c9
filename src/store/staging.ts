import { open, rm } from 'node:fs/promises';
import { assert } from '../base/index.ts';
import type { ColumnType, Rows, Values } from './rows.ts';

/*
 * Rows as a Parquet file: the form that the engine reads with the least work. It has one row
 * group, and in it one page for each column: uncompressed, values one after another (PLAIN),
 * before them a bit for each row that tells whether it has one. Columns are called c0, c1, … in
 * the order of `rows.columns`: a name of the sender's may be a word of the engine.
 * Source: Apache Parquet 2.10, parquet.thrift and Encodings.md; Thrift's compact protocol.
 */

const magic = Buffer.from('PAR1');

const physicalTypes: Readonly<Record<ColumnType, number>> = {
  BOOLEAN: 0,
  BIGINT: 2,
  DOUBLE: 5,
  VARCHAR: 6,
  JSON: 6,
};
const [dataPage, plain, rle, optional, utf8, uncompressed] = [0, 0, 3, 1, 0, 0];

/** The file, in pieces. */
export function parquetOf(rows: Rows): readonly Uint8Array[] {
  const pieces: Uint8Array[] = [magic];
  let at = magic.length;
  const chunks: Chunk[] = [];
  for (const values of rows.columns.values()) {
    const page = pageOf(values, rows.count);
    const bytes = page.reduce((sum, piece) => sum + piece.length, 0);
    chunks.push({ values, at, bytes });
    pieces.push(...page);
    at += bytes;
  }
  const footer = footerOf(chunks, rows.count);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  return [...pieces, footer, length, magic];
}

/** A column's page and where it is. */
type Chunk = { readonly values: Values; readonly at: number; readonly bytes: number };

function pageOf(values: Values, rows: number): readonly Uint8Array[] {
  const levels = levelsOf(values, rows);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(levels.length);
  const bytes = length.length + levels.length + values.data.length;
  const header = new Thrift()
    .i32(1, dataPage)
    .i32(2, bytes)
    .i32(3, bytes)
    .struct(5, (page) => page.i32(1, rows).i32(2, plain).i32(3, rle).i32(4, rle))
    .end();
  return [header, length, levels, values.data];
}

/** Definition levels: one run if all rows have a value, else bits. */
function levelsOf(values: Values, rows: number): Buffer {
  if (values.count === rows) return Buffer.from([...varint(rows << 1), 1]);
  const bits = values.present(rows);
  return Buffer.concat([Buffer.from(varint((bits.length << 1) | 1)), bits]);
}

function footerOf(chunks: readonly Chunk[], rows: number): Buffer {
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.bytes, 0);
  const root = new Thrift().text(4, 'rows').i32(5, chunks.length).end();
  const columns = chunks.map(({ values: { type } }, index) => {
    const element = new Thrift().i32(1, physicalTypes[type]).i32(3, optional);
    element.text(4, `c${index}`);
    if (physicalTypes[type] === physicalTypes.VARCHAR) element.i32(6, utf8);
    return element.end();
  });
  const metas = chunks.map((chunk, index) => {
    return new Thrift()
      .i64(2, chunk.at)
      .struct(3, (meta) =>
        meta
          .i32(1, physicalTypes[chunk.values.type])
          .i32s(2, [plain, rle])
          .texts(3, [`c${index}`])
          .i32(4, uncompressed)
          .i64(5, rows)
          .i64(6, chunk.bytes)
          .i64(7, chunk.bytes)
          .i64(9, chunk.at),
      )
      .end();
  });
  const group = new Thrift().structs(1, metas).i64(2, bytes).i64(3, rows).end();
  return new Thrift()
    .i32(1, 1)
    .structs(2, [root, ...columns])
    .i64(3, rows)
    .structs(4, [group])
    .end();
}

const [typeI32, typeI64, typeText, typeList, typeStruct] = [5, 6, 8, 9, 12];

/** A struct in Thrift's compact protocol. */
class Thrift {
  readonly #parts: Uint8Array[] = [];
  #lastField = 0;

  i32(field: number, value: number): this {
    return this.#field(field, typeI32).#put(varint(2 * value));
  }

  i64(field: number, value: number): this {
    return this.#field(field, typeI64).#put(varint(2 * value));
  }

  text(field: number, text: string): this {
    return this.#field(field, typeText).#put(textOf(text));
  }

  struct(field: number, fill: (inner: Thrift) => Thrift): this {
    return this.#field(field, typeStruct).#put(fill(new Thrift()).end());
  }

  i32s(field: number, values: readonly number[]): this {
    return this.#list(
      field,
      typeI32,
      values.map((value) => varint(2 * value)),
    );
  }

  texts(field: number, texts: readonly string[]): this {
    return this.#list(field, typeText, texts.map(textOf));
  }

  structs(field: number, structs: readonly Uint8Array[]): this {
    return this.#list(field, typeStruct, structs);
  }

  end(): Buffer {
    return Buffer.concat([...this.#parts, Buffer.from([0])]);
  }

  #list(field: number, type: number, items: readonly Iterable<number>[]): this {
    const size = items.length;
    this.#field(field, typeList);
    this.#put(size < 15 ? [(size << 4) | type] : [0xf0 | type, ...varint(size)]);
    for (const item of items) this.#put(item);
    return this;
  }

  /** Fields of a struct come in the order of their numbers, none far behind another. */
  #field(field: number, type: number): this {
    const delta = field - this.#lastField;
    this.#lastField = field;
    return this.#put([(delta << 4) | type]);
  }

  #put(bytes: Iterable<number>): this {
    this.#parts.push(bytes instanceof Uint8Array ? bytes : Uint8Array.from(bytes));
    return this;
  }
}

function textOf(text: string): Uint8Array {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from(varint(bytes.length)), bytes]);
}

/** Seven bits a byte, the lowest first. @param value a whole number, not negative */
function varint(value: number): readonly number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

/** Lends a file with rows that the engine reads; it need not survive anything. */
export async function staged<T>(
  rows: Rows,
  path: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  try {
    const file = await open(path, 'w');
    try {
      const pieces = parquetOf(rows);
      const { bytesWritten } = await file.writev(pieces);
      const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      assert(bytesWritten === bytes, 'there was room for all rows');
    } finally {
      await file.close();
    }
    return await use(path);
  } finally {
    await rm(path, { force: true });
  }
}
