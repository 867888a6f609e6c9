import { Command } from 'commander';
import { fault, isNoRoom, MillraceError, messageOf } from '../base/index.ts';
import { invocation, version } from '../config.ts';
import { archiveCommand } from './archive.ts';
import { backupCommand, restoreCommand } from './backup.ts';
import { columnsCommand } from './columns.ts';
import { eraseCommand } from './erase.ts';
import { exportCommand } from './export.ts';
import { flushCommand } from './flush.ts';
import { fsckCommand } from './fsck.ts';
import { keysCommand } from './keys.ts';
import { logCommand } from './log.ts';
import { openapiCommand } from './openapi.ts';
import { quarantineCommand } from './quarantine.ts';
import { queriesCommand } from './queries.ts';
import { queryCommand } from './query.ts';
import { receiptCommand } from './receipt.ts';
import { reloadCommand } from './reload.ts';
import { color, harmless } from './render.ts';
import { retentionCommand } from './retention.ts';
import { selftestCommand } from './selftest.ts';
import { serveCommand } from './serve.ts';
import { statusCommand } from './status.ts';
import { storageCheckCommand } from './storage-check.ts';
import { tablesCommand } from './tables.ts';

/** Runs the command line; sets the exit code. */
export async function runCommand(argv: readonly string[]): Promise<void> {
  const program = new Command('millrace')
    .description('The fast, durable channel from an HTTP POST to a SQL table.')
    .version(version())
    // An option belongs to the command before it, also where `backup` and `backup verify` have it.
    .enablePositionalOptions()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error:/, 'millrace:')) })
    .addHelpText(
      'after',
      '\nEvery option is also an environment variable (--admin-port: MILLRACE_ADMIN_PORT) and a\n' +
        'line of a config file (admin_port = 8081), which --config or MILLRACE_CONFIG names.\n' +
        'A flag wins over the environment, the environment over the file.\n\n' +
        `Examples:\n  ${invocation()} serve --guide\n` +
        `  ${invocation()} query "SELECT * FROM demo.events"`,
    );
  const commands = [serveCommand, keysCommand, queryCommand, flushCommand, statusCommand];
  const asking = [queriesCommand, exportCommand];
  const repair = [receiptCommand, quarantineCommand, columnsCommand, tablesCommand];
  const lake = [archiveCommand, retentionCommand, eraseCommand, reloadCommand];
  const copies = [backupCommand, restoreCommand, fsckCommand, logCommand, openapiCommand];
  const proof = [selftestCommand, storageCheckCommand];
  for (const command of [...commands, ...asking, ...repair, ...lake, ...copies, ...proof]) {
    program.addCommand(command);
  }
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    printError(error);
    process.exitCode = 1;
  }
}

function printError(thrown: unknown): void {
  const error = isNoRoom(thrown) ? fault('DISK_FULL', { seen: messageOf(thrown) }, thrown) : thrown;
  // It may quote what a sender sent.
  console.error(`${color('red', 'millrace:', process.stderr)} ${harmless(messageOf(error))}`);
  const hint = (error as { hint?: unknown }).hint;
  const pasted = (text: string) => text.replace(/\bmillrace (?=[a-z-])/g, `${invocation()} `);
  if (typeof hint === 'string') console.error(`  ${pasted(hint)}`);
  else if (!(error instanceof MillraceError) && error instanceof Error) console.error(error.stack);
}
