import fc from 'fast-check';

/* A property that fails, or hangs, ends before its test does: it must say with which values. */

fc.configureGlobal({ interruptAfterTimeLimit: 100_000, markInterruptAsFailure: true });
