import { mkdir } from 'node:fs/promises';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { systemClock, writeFileAtomic } from '../base/index.ts';
import type { TlsFiles } from '../config.ts';

const daysValid = 90;
const dayMs = 86_400_000;

/**
 * Makes a certificate for this machine that nobody has signed, for trying out: browsers warn of it.
 * It is made anew at each start.
 */
export async function selfSigned(data: string, host: string): Promise<Omit<TlsFiles, 'port'>> {
  // Loaded here alone: no other command needs it.
  const { generate } = await import('selfsigned');
  const names = [...new Set(['localhost', '127.0.0.1', '::1', hostname(), host])];
  const made = await generate([{ name: 'commonName', value: 'localhost' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notAfterDate: new Date(systemClock.nowMs() + daysValid * dayMs),
    extensions: [
      {
        name: 'subjectAltName',
        altNames: names.map((name) =>
          isIP(name) === 0 ? { type: 2 as const, value: name } : { type: 7 as const, ip: name },
        ),
      },
    ],
  });
  const directory = join(data, 'tls');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const files = { certPath: join(directory, 'cert.pem'), keyPath: join(directory, 'key.pem') };
  await writeFileAtomic(files.keyPath, made.private);
  await writeFileAtomic(files.certPath, made.cert);
  return files;
}
