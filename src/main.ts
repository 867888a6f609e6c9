// The entry of every process: the command line, or a child that its supervisor talks to.
// What is written, by libraries too, is its user's alone.
process.umask(0o077);
if (process.argv[2] === '--child') {
  const { runChild } = await import('./child.ts');
  await runChild();
} else {
  const { runCommand } = await import('./cli/index.ts');
  await runCommand(process.argv);
}
