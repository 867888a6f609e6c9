/**
 * The operator's hands: one file per command.
 *
 * Promises
 *  1. Every command has `--help` with examples, and `--json` where it prints facts.
 *  2. Answers go to stdout; errors go to stderr with what to do, and the exit code is 1.
 *  3. Colours only on a terminal.
 */
export { runCommand } from './program.ts';
