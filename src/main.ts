// The entry of every process: the command line, or a child that its supervisor talks to.
if (process.argv[2] === '--child') {
  const { runChild } = await import('./child.ts');
  await runChild();
} else {
  const { runCommand } = await import('./cli/index.ts');
  await runCommand(process.argv);
}
