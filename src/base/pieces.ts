import { crc32 } from 'node:zlib';
import { nodeDisk } from './disk.ts';
import { fault, type MillraceError } from './fault.ts';
import { limits } from './limits.ts';

/*
 * Checksums of a file that does not change: a CRC-32 for each of its pieces, so that damage is not
 * only found but also located.
 */

const { pieceBytes } = limits;
const readBytes = 4 * pieceBytes;

/** Bytes of a file, from one to before the other. */
export type Stretch = { readonly from: number; readonly to: number };

/** The checksums of some bytes that begin where a piece does. */
export function crcsOf(bytes: Uint8Array): readonly number[] {
  const crcs: number[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    crcs.push(crc32(bytes.subarray(at, at + pieceBytes)));
  }
  return crcs;
}

/** The same of a whole file. Throws what the disk throws. */
export async function crcsAt(path: string): Promise<readonly number[]> {
  const file = await nodeDisk.openRead(path);
  try {
    const buffer = Buffer.allocUnsafe(readBytes);
    const crcs: number[] = [];
    for (let at = 0; ; at += readBytes) {
      const count = await file.read(buffer, at);
      crcs.push(...crcsOf(buffer.subarray(0, count)));
      if (count < readBytes) return crcs;
    }
  } finally {
    await file.close();
  }
}

/**
 * Which parts of a file are not as they were.
 * @param crcs as they were; none if nobody knows
 */
export function damageIn(
  crcs: readonly number[],
  found: readonly number[],
  bytes: number,
): readonly Stretch[] {
  return crcs.flatMap((crc, index) => {
    const from = index * pieceBytes;
    return crc === found[index] ? [] : [{ from, to: Math.min(bytes, from + pieceBytes) }];
  });
}

/** @param path of a file, below the data directory or the lake */
export function damaged(path: string, { from, to }: Stretch): MillraceError {
  return fault('DATA_DAMAGED', { seen: path, why: `bytes ${from} to ${to} have another checksum` });
}
