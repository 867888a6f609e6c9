import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';

// The entry of every process: the command line, or a child that its supervisor talks to.
// What is written, by libraries too, is its user's alone.
process.umask(0o077);
// In a checkout: from TypeScript a process starts in a third of the time, the second time.
if (import.meta.url.endsWith('.ts')) {
  enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/millrace', import.meta.url)));
}
if (process.argv[2] === '--child') {
  const { runChild } = await import('./child.ts');
  await runChild();
} else {
  const { runCommand } = await import('./cli/index.ts');
  await runCommand(process.argv);
}
