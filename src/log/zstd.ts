import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { constants, createZstdCompress, zstdDecompress } from 'node:zlib';
import { limits } from '../base/index.ts';

const pieceBytes = 64 * 1024;
/** A segment is closed by the group that makes it long enough. */
const wholeBytesMax = limits.segmentBytesMax + limits.groupBytesMax + 2 * limits.recordBytesMax;
const decompress = promisify(zstdDecompress);

/** Compresses pieces as one zstd frame with a checksum; `write` gets it in pieces, in order. */
export async function compressTo(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  write: (piece: Uint8Array) => Promise<void>,
): Promise<void> {
  const params = { [constants.ZSTD_c_checksumFlag]: 1 };
  const zstd = createZstdCompress({ params, chunkSize: pieceBytes });
  await pipeline(pieces, zstd, async (compressed: AsyncIterable<Buffer>) => {
    for await (const piece of compressed) await write(piece);
  });
}

/** A whole segment out of its compressed form. @throws when that is damaged */
export function decompressed(bytes: Uint8Array): Promise<Buffer> {
  return decompress(bytes, { maxOutputLength: wholeBytesMax });
}
