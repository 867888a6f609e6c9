/** How far something that takes long is. */
export type ProgressReport = {
  readonly done: number;
  /** Undefined while nobody knows. */
  readonly total?: number | undefined;
  /** Of what, in the plural: `events`, `rows`, `bytes`. */
  readonly unit: string;
};

/** Who waits for something that takes long. */
export type Task = {
  /** Takes a report; as many as one likes. */
  readonly progress: (report: ProgressReport) => void;
  /** Aborted when nobody waits any more: work that can stop between two of its steps does. */
  readonly signal: AbortSignal;
};

/** Somebody who waits in silence, to the end. */
export const patient: Task = { progress: () => undefined, signal: new AbortController().signal };
