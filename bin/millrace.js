#!/usr/bin/env node
// The door of every command. Plain JavaScript, so that a wrong runtime gets one clear line.
import { existsSync } from 'node:fs';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(
    `millrace needs Node.js 22.18 or newer and was started by ${process.version}. ` +
      'In a checkout use "npm run -s millrace -- …": it brings its own.',
  );
  process.exit(1);
}
const source = new URL('../src/main.ts', import.meta.url);
await import(existsSync(source) ? source : new URL('../dist/main.js', import.meta.url));
