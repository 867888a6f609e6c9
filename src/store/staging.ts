import { open, rm } from 'node:fs/promises';
import { assert } from '../base/index.ts';
import type { Lists } from './lists.ts';
import type { ColumnType, Rows, Values } from './rows.ts';

/*
 * Rows as a Parquet file: the form that the engine reads with the least work. It has one row
 * group, and in it one page for each column: uncompressed, values one after another (PLAIN),
 * before them a bit for each row that tells whether it has one. Columns are called c0, c1, … in
 * the order of `rows.columns`: a name of the sender's may be a word of the engine. Lists of texts
 * may stand behind them.
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
const [dataPage, plain, rle, utf8, list, uncompressed] = [0, 0, 3, 0, 3, 0];
const [required, optional, repeated] = [0, 1, 2];

/** The file, in pieces. @param lists as many as rows. */
export function parquetOf(rows: Rows, lists?: Lists): readonly Uint8Array[] {
  const pieces: Uint8Array[] = [magic];
  let at = magic.length;
  const chunks: Chunk[] = [];
  const columns = [...rows.columns.values(), ...(lists ? [lists] : [])];
  for (const [index, column] of columns.entries()) {
    const isLists = column === lists;
    const levels = isLists ? levelsOfLists(lists) : [levelsOf(column as Values, rows.count)];
    const entries = isLists ? lists.entries : rows.count;
    const page = pageOf(entries, levels, column.data);
    const bytes = page.reduce((sum, piece) => sum + piece.length, 0);
    const { type } = column;
    const path = [`c${index}`, ...(isLists ? ['list', 'element'] : [])];
    chunks.push({ type, path, entries, at, bytes });
    pieces.push(...page);
    at += bytes;
  }
  const footer = footerOf(chunks, rows.count);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  return [...pieces, footer, length, magic];
}

/** A column's page and where it is. */
type Chunk = {
  readonly type: ColumnType;
  /** Its name, and those of what is in it. */
  readonly path: readonly string[];
  readonly entries: number;
  readonly at: number;
  readonly bytes: number;
};

function pageOf(
  entries: number,
  levels: readonly Uint8Array[],
  data: Uint8Array,
): readonly Uint8Array[] {
  const pieces = levels.flatMap((bits) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bits.length);
    return [length, bits];
  });
  const bytes = pieces.reduce((sum, piece) => sum + piece.length, data.length);
  const header = new Thrift()
    .i32(1, dataPage)
    .i32(2, bytes)
    .i32(3, bytes)
    .struct(5, (page) => page.i32(1, entries).i32(2, plain).i32(3, rle).i32(4, rle))
    .end();
  return [header, ...pieces, data];
}

/** Definition levels: one run if all rows have a value, else bits. */
function levelsOf(values: Values, rows: number): Buffer {
  if (values.count === rows) return Buffer.from([...varint(rows << 1), 1]);
  return bitRun(values.present(rows), 1);
}

/** How deep each entry repeats what is before it, and how much of it is there. */
function levelsOfLists({ repetitions, definitions }: Lists): readonly Buffer[] {
  return [bitRun(repetitions, 1), bitRun(definitions, 2)];
}

/** A run of numbers of so many bits each, packed, in groups of eight. */
function bitRun(packed: Uint8Array, width: number): Buffer {
  return Buffer.concat([Buffer.from(varint(((packed.length / width) << 1) | 1)), packed]);
}

function footerOf(chunks: readonly Chunk[], rows: number): Buffer {
  const allBytes = chunks.reduce((sum, chunk) => sum + chunk.bytes, 0);
  const root = new Thrift().text(4, 'rows').i32(5, chunks.length).end();
  const columns = chunks.flatMap(({ path, type }) => elementsOf(path, type));
  const metas = chunks.map(({ type, path, entries, at, bytes }) => {
    return new Thrift()
      .i64(2, at)
      .struct(3, (meta) =>
        meta
          .i32(1, physicalTypes[type])
          .i32s(2, [plain, rle])
          .texts(3, path)
          .i32(4, uncompressed)
          .i64(5, entries)
          .i64(6, bytes)
          .i64(7, bytes)
          .i64(9, at),
      )
      .end();
  });
  const group = new Thrift().structs(1, metas).i64(2, allBytes).i64(3, rows).end();
  return new Thrift()
    .i32(1, 1)
    .structs(2, [root, ...columns])
    .i64(3, rows)
    .structs(4, [group])
    .end();
}

/** A column in the schema; lists are groups of a group of what is in them. */
function elementsOf(path: readonly string[], type: ColumnType): readonly Buffer[] {
  const [name = '', ...inner] = path;
  const leaf = new Thrift().i32(1, physicalTypes[type]).i32(3, optional);
  leaf.text(4, inner.at(-1) ?? name);
  if (physicalTypes[type] === physicalTypes.VARCHAR) leaf.i32(6, utf8);
  if (inner.length === 0) return [leaf.end()];
  const outer = new Thrift().i32(3, required).text(4, name).i32(5, 1).i32(6, list);
  const middle = new Thrift()
    .i32(3, repeated)
    .text(4, inner[0] ?? '')
    .i32(5, 1);
  return [outer.end(), middle.end(), leaf.end()];
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
  pieces: readonly Uint8Array[],
  path: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  try {
    const file = await open(path, 'w');
    try {
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
