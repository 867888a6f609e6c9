import type { SimSocket } from './network.ts';
import type { Time } from './time.ts';

/** What becomes of a request: the status that its sender sees; undefined if it sees none. */
export type Answer = number | undefined;

export type Manner = 'at once' | 'in drips' | 'and goes away' | 'half of it';

const patienceMs = 90_000;
const dripMsMax = 400;

/** Sends requests on one connection, one behind the other, and reads as many answers. */
export async function exchange(
  time: Time,
  socket: SimSocket,
  requests: readonly Buffer[],
  manner: Manner,
): Promise<readonly Answer[]> {
  const answers: number[] = [];
  let text = '';
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = () => {
    socket.destroy();
    resolve();
  };
  socket.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1');
    for (let status = takeAnswer(); status !== undefined; status = takeAnswer()) {
      answers.push(status);
      if (answers.length === requests.length) end();
    }
  });
  socket.on('end', end).on('close', resolve).on('error', resolve);
  const late = time.after(patienceMs, end);
  const all = Buffer.concat(requests);
  if (manner === 'half of it') {
    socket.write(all.subarray(0, Math.floor(all.length / 2)));
    await time.pass(0, dripMsMax);
    end();
  } else if (manner === 'in drips') {
    const size = Math.ceil(all.length / 6);
    for (let at = 0; at < all.length && !socket.destroyed; at += size) {
      socket.write(all.subarray(at, at + size));
      await time.pass(0, dripMsMax);
    }
  } else {
    socket.write(all);
    if (manner === 'and goes away') {
      await time.pass(0, 60);
      end();
    }
  }
  await promise;
  late.cancel();
  return requests.map((_, index) => answers[index]);

  function takeAnswer(): number | undefined {
    const headEnd = text.indexOf('\r\n\r\n');
    if (headEnd < 0) return undefined;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(text.slice(0, headEnd))?.[1] ?? 0);
    if (text.length < headEnd + 4 + length) return undefined;
    const status = Number(text.slice(9, 12));
    text = text.slice(headEnd + 4 + length);
    return status;
  }
}

/** A postback as bytes of HTTP/1.1. */
export function requestBytes(
  path: string,
  headers: Readonly<Record<string, string>>,
  body: string,
  isChunked: boolean,
): Buffer {
  const length = isChunked
    ? { 'Transfer-Encoding': 'chunked' }
    : { 'Content-Length': String(Buffer.byteLength(body)) };
  const lines = Object.entries({ Host: 'sim', ...headers, ...length });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const middle = Math.floor(body.length / 2);
  const sent = isChunked
    ? `${chunk(body.slice(0, middle))}${chunk(body.slice(middle))}0\r\n\r\n`
    : body;
  return Buffer.from(`POST ${path} HTTP/1.1\r\n${head}\r\n${sent}`);
}

function chunk(text: string): string {
  return text === '' ? '' : `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}
