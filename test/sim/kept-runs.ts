/** Runs of the log's model test that once failed. Each stays for good. */
export const keptRuns: readonly {
  readonly why: string;
  readonly seed: number;
  readonly actions: readonly unknown[];
}[] = [
  {
    why: 'a reader listed a segment that was being created and was then removed for want of room',
    seed: -904225732,
    actions: [
      { kind: 'append', sizes: [608] },
      { kind: 'settle' },
      { kind: 'append', sizes: [1] },
      { kind: 'noRoom', skip: 3 },
      { kind: 'load' },
    ],
  },
  {
    why: 'the segment being written was dropped: one after it had been listed for a moment',
    seed: 0,
    actions: [
      { kind: 'append', sizes: [1, 594] },
      { kind: 'settle' },
      { kind: 'append', sizes: [1] },
      { kind: 'noRoom', skip: 3 },
      { kind: 'load' },
      { kind: 'restart' },
      { kind: 'append', sizes: [1] },
    ],
  },
];
