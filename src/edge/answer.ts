import type { ServerResponse } from 'node:http';
import type { MillraceError } from '../base/index.ts';

const hsts = 'max-age=31536000';
/** Seconds after which a refused sender should try again. */
const retryAfter = '5';

const acceptedText = '{}';

/** The documented answer of success, its headers in the documented order. */
export function accept(response: ServerResponse): void {
  send(response, 200, acceptedText, []);
}

/** A refusal. `isLast` closes the connection: what the sender still sends is not read. */
export function refuse(response: ServerResponse, error: MillraceError, isLast = false): void {
  const extra: string[] = [];
  if (error.status === 503) extra.push('Retry-After', retryAfter);
  if (error.code === 'BAD_METHOD') extra.push('Allow', 'POST');
  if (isLast) response.shouldKeepAlive = false;
  send(response, error.status, refusalText(error), extra);
}

export function refusalText(error: MillraceError): string {
  return JSON.stringify({ error: error.message });
}

function send(
  response: ServerResponse,
  status: number,
  text: string,
  extra: readonly string[],
): void {
  response.writeHead(status, [
    'Content-Type',
    'application/json',
    'Date',
    httpDate(),
    'Strict-Transport-Security',
    hsts,
    'Content-Length',
    String(Buffer.byteLength(text)),
    'Connection',
    response.shouldKeepAlive ? 'keep-alive' : 'close',
    ...extra,
  ]);
  response.end(text);
}

let dateSecond = 0;
let dateText = '';

/** For the header Date; made once a second. */
export function httpDate(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}
