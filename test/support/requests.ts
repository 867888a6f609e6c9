/** An HTTP/1.1 request of the tests. */
export type Request = {
  readonly method?: string;
  readonly path?: string;
  /** Besides the key, if there is one. */
  readonly headers?: readonly string[];
  /** The good key in its header, unless said otherwise. */
  readonly keyHeader?: string | undefined;
  readonly body?: string | Uint8Array;
};

/** A request as bytes, with no header but those it needs and those that are given. */
export function requestBytes(request: Request, key: string): Buffer {
  const { method = 'POST', path = '/edge/events', headers = [], body = '{}' } = request;
  const keyHeader = 'keyHeader' in request ? request.keyHeader : key;
  const url = path.startsWith('//') ? path.slice(1) : `/postback/v3/event${path}`;
  const bytes = Buffer.from(body);
  const isChunked = headers.includes('Transfer-Encoding: chunked');
  const lines = [
    `${method} ${url} HTTP/1.1`,
    'Host: edge',
    ...(keyHeader === undefined ? [] : [`X-TD-Write-Key: ${keyHeader}`]),
    ...headers,
    ...(isChunked ? [] : [`Content-Length: ${bytes.length}`]),
  ];
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
  return Buffer.concat([head, isChunked ? chunked(bytes) : bytes]);
}

function chunked(bytes: Uint8Array): Buffer {
  const parts: Uint8Array[] = [];
  const chunkBytes = 100_000;
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const chunk = bytes.subarray(at, at + chunkBytes);
    parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

/** A record of exactly so many bytes. */
export function recordOf(bytes: number): Buffer {
  return Buffer.from(`{"pad":"${'#'.repeat(bytes - '{"pad":""}'.length)}"}`);
}
