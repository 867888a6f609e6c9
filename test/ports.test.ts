import { expect, test } from 'vitest';
import { temporaryDirectory, TestServer } from './support/server.ts';

test('any port is none that a connection may get before it is listened on', async () => {
  await using directory = await temporaryDirectory();
  const tls = ['--tls-port', '0', '--tls-self-signed'];
  await using server = await TestServer.start(directory.path, tls);
  const urls = [server.ingest, server.admin, server.tls ?? ''];
  const ports = urls.map((url) => Number(new URL(url).port));
  expect(new Set(ports).size).toBe(3);
  expect(ports.filter((port) => port < 20_000 || port >= 32_768)).toEqual([]);
});
