/**
 * Does so many things at each turn of the event loop, in their order: whatever else comes has its
 * turn between.
 */
export class Spread {
  readonly #perTurn: number;
  readonly #waiting: (() => void)[] = [];

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
  }

  add(work: () => void): void {
    if (this.#waiting.push(work) === 1) this.#schedule();
  }

  #schedule(): void {
    setImmediate(() => {
      const now = this.#waiting.slice(0, this.#perTurn);
      for (const work of now) work();
      this.#waiting.splice(0, now.length);
      if (this.#waiting.length > 0) this.#schedule();
    });
  }
}
