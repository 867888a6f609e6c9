import {
  AsyncByteQueue,
  Binary,
  Bool,
  type Data,
  type DataType,
  DateDay,
  Decimal,
  Field,
  Float32,
  Float64,
  Int16,
  Int32,
  Int64,
  Int8,
  makeData,
  RecordBatch,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  Timestamp,
  TimeUnit,
  Uint16,
  Uint32,
  Uint64,
  Uint8,
  Utf8,
} from 'apache-arrow';
import type { Exact, RowSet } from '../store/index.ts';
import type { Piece } from './formats.ts';

/** The only file that knows Arrow. What has no type here is text: of nested values, their JSON. */
const types: Readonly<Record<string, () => DataType>> = {
  BOOLEAN: () => new Bool(),
  TINYINT: () => new Int8(),
  SMALLINT: () => new Int16(),
  INTEGER: () => new Int32(),
  BIGINT: () => new Int64(),
  HUGEINT: () => new Decimal(0, 38),
  UTINYINT: () => new Uint8(),
  USMALLINT: () => new Uint16(),
  UINTEGER: () => new Uint32(),
  UBIGINT: () => new Uint64(),
  FLOAT: () => new Float32(),
  DOUBLE: () => new Float64(),
  BLOB: () => new Binary(),
  DATE: () => new DateDay(),
  TIMESTAMP: () => new Timestamp(TimeUnit.MICROSECOND),
  'TIMESTAMP WITH TIME ZONE': () => new Timestamp(TimeUnit.MICROSECOND, 'UTC'),
  TIMESTAMP_S: () => new Timestamp(TimeUnit.SECOND),
  TIMESTAMP_MS: () => new Timestamp(TimeUnit.MILLISECOND),
  TIMESTAMP_NS: () => new Timestamp(TimeUnit.NANOSECOND),
};

/** The answer as a stream of record batches. */
export async function* writeArrow(set: RowSet): AsyncGenerator<Piece> {
  const fields = set.columns.map(({ name, type }) => new Field(name, typeOf(type), true));
  const schema = new Schema(fields);
  const sink = new Sink();
  const writer = new RecordBatchStreamWriter().reset(sink, schema);
  for await (const columns of set.exact) {
    const rows = columns[0]?.length ?? 0;
    const children = fields.map(({ type }, index) => dataOf(type, columns[index] ?? []));
    const struct = makeData({ type: new Struct(fields), length: rows, nullCount: 0, children });
    writer.write(new RecordBatch(schema, struct));
    yield { data: sink.take(), rows };
  }
  writer.finish();
  yield { data: sink.take(), rows: 0 };
}

/** What a writer has written. */
class Sink extends AsyncByteQueue {
  #chunks: Uint8Array[] = [];

  override write(chunk: ArrayBufferLike | ArrayBufferView | string): void {
    const bytes = Buffer.from(chunk as Uint8Array);
    this.#chunks.push(bytes);
  }

  take(): Uint8Array {
    const chunks = this.#chunks;
    this.#chunks = [];
    return Buffer.concat(chunks);
  }
}

function typeOf(type: string): DataType {
  const [, width, scale] = /^DECIMAL\((\d+),\s*(\d+)\)$/.exec(type) ?? [];
  if (width !== undefined) return new Decimal(Number(scale), Number(width));
  return types[type]?.() ?? new Utf8();
}

/** One column of one batch. */
function dataOf(type: DataType, values: readonly Exact[]): Data {
  const { length } = values;
  const nullBitmap = bitsOf(values, (value) => value !== null);
  const nullCount = values.filter((value) => value === null).length;
  const common = { length, nullBitmap, nullCount };
  if (type instanceof Bool) {
    return makeData({ ...common, type, data: bitsOf(values, (value) => value === true) });
  }
  if (type instanceof Utf8 || type instanceof Binary) {
    const parts = values.map((value) =>
      Buffer.from(value instanceof Uint8Array ? value : text(value)),
    );
    const valueOffsets = new Int32Array(length + 1);
    parts.forEach((part, index) => {
      valueOffsets[index + 1] = (valueOffsets[index] ?? 0) + part.length;
    });
    return makeData({ ...common, type: type as Utf8, valueOffsets, data: Buffer.concat(parts) });
  }
  if (type instanceof Decimal) return makeData({ ...common, type, data: words(values) });
  const data = new type.ArrayType(length) as BigInt64Array | Float64Array;
  values.forEach((value, index) => {
    if (value !== null) data[index] = value as never;
  });
  return makeData({ ...common, type: type as Int64, data: data as BigInt64Array });
}

function text(value: Exclude<Exact, Uint8Array>): string {
  return value === null ? '' : String(value);
}

/** A bit for each value, the lowest first. */
function bitsOf(values: readonly Exact[], isSet: (value: Exact) => boolean): Uint8Array {
  const bits = new Uint8Array(Math.ceil(values.length / 8));
  values.forEach((value, index) => {
    if (isSet(value)) bits[index >> 3] = (bits[index >> 3] ?? 0) | (1 << (index & 7));
  });
  return bits;
}

/** 128 bits for each value, in words of 32, the lowest first. */
function words(values: readonly Exact[]): Uint32Array {
  const all = new BigUint64Array(values.length * 2);
  values.forEach((value, index) => {
    const number = BigInt((value as bigint | number | null) ?? 0);
    all[2 * index] = BigInt.asUintN(64, number);
    all[2 * index + 1] = BigInt.asUintN(64, number >> 64n);
  });
  return new Uint32Array(all.buffer);
}
