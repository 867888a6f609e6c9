import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createKey, temporaryDirectory, TestServer } from '../support/server.ts';

const events = 50;

test.skipIf(!canTrace())(
  'every 200 is written after a synced write of the log returned (needs strace)',
  async () => {
    await using directory = await temporaryDirectory();
    const data = join(directory.path, 'data');
    const traceFile = join(directory.path, 'trace');
    const key = await createKey(data, 'demo');
    await using server = await TestServer.start(data, [], strace(traceFile));
    for (let n = 0; n < events; n += 1) {
      const { status } = await server.post('demo/events', { n }, { 'X-TD-Write-Key': key });
      expect(status).toBe(200);
    }
    await endTraced(server);

    const steps = stepsOf(await readFile(traceFile, 'utf8'));
    expect(steps.filter((step) => step === 'synced')).toHaveLength(events);
    // One event after another: each answer has a synced write of its own before it.
    expect(steps).toEqual(Array.from({ length: events }, () => ['synced', 'answered']).flat());
  },
);

function canTrace(): boolean {
  try {
    execFileSync('strace', ['-o', '/dev/null', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** `-y` shows what a descriptor is: the same number means another file in another process. */
function strace(traceFile: string): readonly string[] {
  const calls = 'trace=openat,write,pwrite64,writev,pwritev,fdatasync,fsync';
  return ['strace', '-f', '-tt', '-y', '-s', '32', '-e', calls, '-o', traceFile];
}

/** Ends the server itself, then strace ends with a complete trace. */
async function endTraced(server: TestServer): Promise<void> {
  const text = await readFile(join(server.data, 'server.json'), 'utf8');
  const exited = once(server.process, 'exit');
  process.kill((JSON.parse(text) as { pid: number }).pid, 'SIGTERM');
  await exited;
}

type Call = { readonly name: string; readonly text: string; readonly result: number };

/** What matters of the trace, in its order: an answer when it begins, a sync when it is done. */
function stepsOf(trace: string): readonly ('synced' | 'answered')[] {
  const steps: ('synced' | 'answered')[] = [];
  const begun = new Map<string, string>();
  const syncedFiles = new Set<string>();
  const unsyncedFiles = new Set<string>();
  const begin = (text: string) => {
    if (/^writev?\(.*"HTTP\/1\.1 200 /.test(text)) steps.push('answered');
  };
  const end = ({ name, text, result }: Call) => {
    const file = segmentIn(text);
    if (file === undefined || result < 0) return;
    if (name === 'openat' && text.includes('O_DSYNC')) syncedFiles.add(file);
    else if (isWrite(name) && isRecord(text) && syncedFiles.has(file)) steps.push('synced');
    else if (isWrite(name) && isRecord(text)) unsyncedFiles.add(file);
    else if (/^f(data)?sync$/.test(name) && unsyncedFiles.delete(file)) steps.push('synced');
  };
  for (const line of trace.split('\n')) {
    const [, thread = '', text = ''] = /^(\d+)\s+[\d:.]+ (.*)$/.exec(line) ?? [];
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text);
    const whole = resumed ? `${begun.get(thread) ?? ''}${resumed[1]}` : text;
    if (!resumed) begin(text);
    const [unfinished] = text.split(' <unfinished ...>');
    if (unfinished !== text) begun.set(thread, unfinished ?? '');
    else end(callOf(whole));
  }
  return steps;
}

function callOf(text: string): Call {
  const [, name = '', result = '-1'] = /^(\w+)\(.*\)\s+= (-?\d+)/.exec(text) ?? [];
  return { name, text, result: Number(result) };
}

function segmentIn(text: string): string | undefined {
  return /\/log\/\d+\/\d{20}\.seg/.exec(text)?.[0];
}

function isWrite(name: string): boolean {
  return ['write', 'pwrite64', 'writev', 'pwritev'].includes(name);
}

/** Not a segment's header, which is written when there is no event yet. */
function isRecord(text: string): boolean {
  return !/"MILLRACE/.test(text);
}
