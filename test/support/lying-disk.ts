import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/*
 * Loaded into the processes of a server before anything else: a disk that says of a write to the
 * log, now and then, that it is done, and does nothing.
 */

const liesEvery = 7;
const headerBytes = 80;
const write = fs.write;
let count = 0;

type Done = (error: Error | null, count: number) => void;

fs.write = ((
  file: number,
  bytes: Buffer,
  at: number,
  length: number,
  position: number,
  done: Done,
) => {
  const isLog = length > headerBytes && fs.readlinkSync(`/proc/self/fd/${file}`).endsWith('.seg');
  if (isLog) count += 1;
  if (isLog && count % liesEvery === 0) setImmediate(done, null, length);
  else write(file, bytes, at, length, position, done);
}) as typeof fs.write;
syncBuiltinESMExports();
