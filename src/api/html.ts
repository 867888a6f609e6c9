/** HTML that is safe to show: text becomes it by `html` alone. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Value = Html | string | number | readonly Value[];

/** HTML with values in it; what is not HTML already is escaped. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  const [first = '', ...rest] = parts;
  return new Html(first + rest.map((part, at) => textOf(values[at] ?? '') + part).join(''));
}

function textOf(value: Value): string {
  if (value instanceof Html) return value.text;
  if (typeof value === 'object') return value.map((one) => textOf(one)).join('');
  return escaped(String(value));
}

export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The little of Markdown that descriptions use: paragraphs and `code`. */
export function markdown(text: string): Html {
  return html`${text.split(/\n{2,}/).map((part) => html`<p>${inline(part)}</p>`)}`;
}

/** Text with `code` in it. */
export function inline(text: string): Html {
  const parts = text
    .split('`')
    .map((part, at) => (at % 2 === 1 ? html`<code>${part}</code>` : part));
  return html`${parts}`;
}
