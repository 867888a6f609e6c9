import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Http2ServerResponse } from 'node:http2';
import type { Answer } from '../wire/index.ts';

const hsts = 'max-age=31536000';

/**
 * Writes an answer; the headers of a documented one stand in the documented order. `isLast` closes
 * the connection: what the sender still sends is not read.
 */
export function send(response: ServerResponse, answer: Answer, isLast: boolean): void {
  if (isLast) response.shouldKeepAlive = false;
  const headers = headersOf(answer);
  headers.push('Connection', response.shouldKeepAlive ? 'keep-alive' : 'close');
  for (const [name, value] of answer.headers) headers.push(name, value);
  response.writeHead(answer.status, headers);
  if (typeof answer.body === 'string') response.end(answer.body);
  // As text: before bytes, Node puts the head ahead of a "100 Continue" that still waits its turn.
  else response.end(answer.body.toString('latin1'), 'latin1');
}

/** The same as one text, whose characters are bytes. Not for 204, which has no body. */
export function answerText({ status, type, body, headers }: Answer, keepsAlive: boolean): string {
  const content = bytesText(body);
  let text = beginText(status, type, content.length, keepsAlive);
  for (const [name, value] of headers) text += `${name}: ${value}\r\n`;
  return `${text}\r\n${content}`;
}

/** Most answers begin as the one before. */
let last = { status: 0, type: '', length: 0, keepsAlive: false, date: '', text: '' };

function beginText(status: number, type: string, length: number, keepsAlive: boolean): string {
  const date = httpDate();
  const isSame = last.status === status && last.type === type && last.length === length;
  if (isSame && last.keepsAlive === keepsAlive && last.date === date) return last.text;
  const text =
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: ${type}\r\n` +
    `Date: ${date}\r\nStrict-Transport-Security: ${hsts}\r\n` +
    `Content-Length: ${length}\r\nConnection: ${keepsAlive ? 'keep-alive' : 'close'}\r\n`;
  last = { status, type, length, keepsAlive, date, text };
  return text;
}

/** The same where no request was read that it could belong to; nothing follows it. */
export function bareText({ status, type, body }: Answer): string {
  const text = bytesText(body);
  return (
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n` +
    `Content-Type: ${type}\r\nDate: ${httpDate()}\r\nX-Content-Type-Options: nosniff\r\n` +
    `Content-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`
  );
}

/** One character for each byte. */
function bytesText(body: string | Buffer): string {
  if (typeof body !== 'string') return body.toString('latin1');
  return Buffer.byteLength(body) === body.length ? body : Buffer.from(body).toString('latin1');
}

/** The same over HTTP/2, which has no connection to speak of. */
export function sendHttp2(response: Http2ServerResponse, answer: Answer): void {
  const headers = headersOf(answer);
  for (const [name, value] of answer.headers) headers.push(name, value);
  response.writeHead(answer.status, headers);
  response.end(answer.body);
}

/** Names and values in turn. */
function headersOf({ status, type, body }: Answer): string[] {
  const common = ['Date', httpDate(), 'Strict-Transport-Security', hsts];
  if (status === 204) return common;
  const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
  return ['Content-Type', type, ...common, 'Content-Length', String(length)];
}

let dateSecond = 0;
let dateText = '';

/** For the header Date; made once a second. */
function httpDate(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}
