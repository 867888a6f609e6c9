import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    setupFiles: 'test/support/properties.ts',
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    // Tests start thousands of processes: each would compile the whole program anew.
    env: { NODE_COMPILE_CACHE: resolve('.tmp/compile-cache') },
    reporters: ['default', ['json', { outputFile: '.tmp/test-results.json' }]],
  },
});
