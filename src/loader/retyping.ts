import { columnName, type Member, membersOf } from '../event/index.ts';
import type { Cell, Column, ColumnType, Conversion, Retyped } from '../store/index.ts';
import { fit } from './fit.ts';

/**
 * A column gets another type: its values are fitted into it as new ones would be. What does not
 * fit goes to `_rescued_data`; what is there for the column and fits comes back.
 */
export class Retyping implements Conversion {
  readonly type: ColumnType;
  readonly #name: string;
  #column: Column;
  #restored = 0;
  #rescued = 0;
  #left = 0;

  constructor(name: string, type: ColumnType) {
    this.type = type;
    this.#name = name;
    this.#column = { name, type, exactAsDouble: true };
  }

  change({ value, rescued }: Cell): Cell {
    const [given] = value === undefined ? [] : membersOf(`{"":${value}}`);
    const before = rescued === undefined ? [] : membersOf(rescued);
    let text = given && this.#fitted(given);
    let after = [...before];
    if (given && text === undefined) {
      this.#rescued += 1;
      after = [{ ...given, key: this.#name }, ...before];
    }
    if (!given) {
      const chosen = before.find((member) => {
        if (this.#isMine(member)) text = this.#fitted(member);
        return text !== undefined;
      });
      if (chosen) this.#restored += 1;
      after = before.filter((member) => member !== chosen);
    }
    this.#left += after.filter((member) => this.#isMine(member)).length;
    return { value: text, rescued: after.length === before.length ? rescued : textOf(after) };
  }

  result(): Retyped {
    const { exactAsDouble } = this.#column;
    const [restored, rescued, left] = [this.#restored, this.#rescued, this.#left];
    return { restored, rescued, left, exactAsDouble };
  }

  #isMine({ key, kind }: Member): boolean {
    return kind !== 'null' && columnName(key) === this.#name;
  }

  /** The text for the column; undefined if the value does not fit into exactly this type. */
  #fitted(member: Member): string | undefined {
    const fitted = fit(member, this.#column);
    if (fitted.kind === 'misfit') return undefined;
    if (fitted.column?.type !== undefined) return undefined;
    this.#column = { ...this.#column, ...fitted.column };
    return fitted.text;
  }
}

function textOf(members: readonly Member[]): string | undefined {
  const parts = members.map(({ key, text }) => `${JSON.stringify(key)}:${text}`);
  return parts.length === 0 ? undefined : `{${parts.join(',')}}`;
}
