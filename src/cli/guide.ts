import { randomIds, systemClock } from '../base/index.ts';
import { invocation } from '../config.ts';
import { createKey, listKeys, stateOf } from '../keys/index.ts';
import { color } from './render.ts';
import { resolve } from 'node:path';

/** Makes a first key when there is none, and prints what to do next, ready to paste. */
export async function printGuide(dataDirectory: string, ingest: string): Promise<void> {
  const keys = await listKeys(dataDirectory);
  const nowMs = systemClock.nowMs();
  const isFirst = keys.every((key) => stateOf(key, nowMs) !== 'in force');
  const scope = { database: '*', name: 'first' };
  const key = isFirst
    ? (await createKey(dataDirectory, scope, randomIds, nowMs)).key
    : 'YOUR_WRITE_KEY';
  const isDefault = dataDirectory === resolve('./millrace-data');
  const at = isDefault ? '' : ` --data ${quote(dataDirectory)}`;
  const run = invocation();
  const made = isFirst
    ? 'A first write key was made, for any database. It is shown once; only its hash is kept.'
    : `There are keys already. Put yours in below, or make one:

${run} keys create${at} --database demo

With a wrong key the answer is 200 all the same; the event waits in millrace.quarantine.`;
  console.log(`
${made}

${color('bold', 'Send an event:')}

curl -i -X POST \\
  '${ingest}/postback/v3/event/demo/events' \\
  -H 'Content-Type: application/json' \\
  -H 'X-TD-Write-Key: ${key}' \\
  -d '{
    "param1": "value1",
    "param2": "value2"
  }'

${color('bold', 'See it as a row:')}

${run} query${at} "SELECT * FROM demo.events"

Every path, with examples and a dry run: ${ingest}/docs

Stop with Ctrl-C. The data is in ${dataDirectory}.`);
}

function quote(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
