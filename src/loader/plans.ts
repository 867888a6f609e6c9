import { limits } from '../base/index.ts';
import type { TableSchema } from '../store/index.ts';
import { TablePlan } from './plan.ts';

/**
 * Plans of the tables that had rows lately, for the next batches: where many tables have a few
 * rows each, making plans anew costs more than the rows.
 */
export class Plans {
  /** By table; what rested last is last. */
  readonly #resting = new Map<string, TablePlan>();
  #columns = 0;

  /** A plan without rows. */
  take(name: string, schema: TableSchema, nowMs: number): TablePlan {
    const plan = this.#remove(name);
    if (plan?.begin(schema, nowMs)) return plan;
    plan?.release();
    return new TablePlan(schema, nowMs);
  }

  /** After a commit of its rows. */
  give(name: string, plan: TablePlan): void {
    plan.rest();
    this.#remove(name)?.release();
    this.#resting.set(name, plan);
    this.#columns += plan.columns;
    for (const oldest of this.#resting.keys()) {
      if (this.#columns <= limits.plansColumnsMax) break;
      this.#remove(oldest)?.release();
    }
  }

  #remove(name: string): TablePlan | undefined {
    const plan = this.#resting.get(name);
    this.#resting.delete(name);
    this.#columns -= plan?.columns ?? 0;
    return plan;
  }
}
