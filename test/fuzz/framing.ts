/*
 * HTTP/1.1 as the campaign reads it: which requests it has surely sent to their end, and what came
 * back. Bytes are text with a character for each.
 */

const headEnd = '\r\n\r\n';

/** How many requests `sent` begins with that are whole and plainly framed: each is answered. */
export function completeRequests(sent: string): number {
  let count = 0;
  for (let at = 0; ; count += 1) {
    const end = sent.indexOf(headEnd, at);
    if (end === -1) return count;
    const [line = '', ...headers] = sent.slice(at, end).split('\r\n');
    if (!/^(GET|POST|HEAD|OPTIONS) [\x21-\x7e]+ HTTP\/1\.1$/.test(line)) return count;
    if (!headers.every((header) => /^[\w!#$%&'*+.^`|~-]+: ?[\x20-\x7e]*$/.test(header)))
      return count;
    const next = endOfBody(sent, end + headEnd.length, headers);
    if (next === undefined || next > sent.length) return count;
    at = next;
    // What a proxy would do with the rest is not ours to say.
    if (headers.some((header) => /^(connection|upgrade|expect):/i.test(header))) return count + 1;
  }
}

function endOfBody(sent: string, from: number, headers: readonly string[]): number | undefined {
  const framing = headers.filter((header) => /^(content-length|transfer-encoding):/i.test(header));
  if (framing.length === 0) return from;
  const length = /^content-length: (\d{1,9})$/i.exec(framing[0] ?? '')?.[1];
  if (framing.length > 1) return undefined;
  if (length !== undefined) return from + Number(length);
  if (!/^transfer-encoding: chunked$/i.test(framing[0] ?? '')) return undefined;
  for (let at = from; ; ) {
    const lineEnd = sent.indexOf('\r\n', at);
    const size = lineEnd === -1 ? '' : sent.slice(at, lineEnd);
    if (!/^[0-9a-f]{1,7}$/.test(size)) return undefined;
    at = lineEnd + 2 + parseInt(size, 16) + 2;
    if (sent.slice(at - 2, at) !== '\r\n') return undefined;
    if (Number(size) === 0) return at;
  }
}

export type Answer = {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
};

/** What came back: answers, whether more of the last one is to come, and what is no HTTP. */
export type Answers = {
  readonly answers: readonly Answer[];
  readonly isCut: boolean;
  readonly problem: string | undefined;
};

/**
 * Reads answers. After a `HEAD` no body follows; of bytes that were torn nobody knows which answer
 * that is, so `mayBeHead` takes each answer without its body, if what follows is no body of it.
 */
export function readAnswers(received: string, mayBeHead: boolean): Answers {
  const answers: Answer[] = [];
  for (let at = 0; at < received.length; ) {
    const end = received.indexOf(headEnd, at);
    if (end === -1) return { answers, isCut: true, problem: startProblem(received.slice(at)) };
    const head = headOf(received.slice(at, end));
    if (typeof head === 'string') return { answers, isCut: false, problem: head };
    const bodyAt = end + headEnd.length;
    const next = endOfAnswer(received, bodyAt, head, mayBeHead);
    if (typeof next === 'string') return { answers, isCut: false, problem: next };
    if (next > received.length) return { answers, isCut: true, problem: undefined };
    if (head.status >= 200) answers.push({ ...head, body: received.slice(bodyAt, next) });
    at = next;
  }
  return { answers, isCut: false, problem: undefined };
}

type Head = Omit<Answer, 'body'>;

function headOf(text: string): Head | string {
  const [line = '', ...lines] = text.split('\r\n');
  const status = /^HTTP\/1\.1 ([1-5]\d\d) [ -~]*$/.exec(line)?.[1];
  if (status === undefined) return `no status line: ${JSON.stringify(line.slice(0, 200))}`;
  const headers = new Map<string, string>();
  for (const header of lines) {
    const [, name = '', value = ''] = /^([\w-]+): ([\t\x20-\x7e\x80-\xff]*)$/.exec(header) ?? [];
    if (name === '') return `no header: ${JSON.stringify(header.slice(0, 200))}`;
    const known = headers.get(name.toLowerCase());
    if (known !== undefined && /^content-/i.test(name)) return `a header twice: ${header}`;
    headers.set(name.toLowerCase(), known === undefined ? value : `${known}\n${value}`);
  }
  return { status: Number(status), headers };
}

function endOfAnswer(
  received: string,
  from: number,
  { status, headers }: Head,
  mayBeHead: boolean,
): number | string {
  if (status < 200 || status === 204 || status === 304) return from;
  if (headers.get('transfer-encoding') === 'chunked') {
    const end = received.indexOf('0\r\n\r\n', from);
    return end === -1 ? received.length + 1 : end + 5;
  }
  const length = headers.get('content-length') ?? '';
  if (mayBeHead && !headers.has('content-length')) return from;
  if (!/^\d+$/.test(length)) return `no Content-Length: ${JSON.stringify([...headers])}`;
  const rest = received.slice(from, from + 9);
  if (mayBeHead && (rest === '' || 'HTTP/1.1 '.startsWith(rest))) return from;
  return from + Number(length);
}

function startProblem(rest: string): string | undefined {
  const isStart = 'HTTP/1.1 '.startsWith(rest.slice(0, 9));
  return isStart ? undefined : `no answer: ${JSON.stringify(rest.slice(0, 200))}`;
}
