import { catalogue, type FaultCode } from './errors.ts';

/** A fault of the catalogue. `message` is for the sender, `hint` for the operator. */
export class MillraceError extends Error {
  readonly code: FaultCode;
  readonly status: number;
  readonly retryable: boolean;
  readonly hint: string;
  /** What the message was filled with. */
  readonly values: Readonly<Record<string, string | number>>;

  constructor(code: FaultCode, values: Readonly<Record<string, string | number>>, cause?: unknown) {
    super(fill(catalogue[code].message, values), cause === undefined ? undefined : { cause });
    this.name = 'MillraceError';
    this.code = code;
    this.values = values;
    this.status = catalogue[code].status;
    this.retryable = catalogue[code].retryable;
    this.hint = fill(catalogue[code].hint, values);
  }
}

/** Makes a fault: `throw fault('LOG_FULL')`. `values` fill the entry's `{names}`. */
export function fault(
  code: FaultCode,
  values: Readonly<Record<string, string | number>> = {},
  cause?: unknown,
): MillraceError {
  return new MillraceError(code, values, cause);
}

/** Whether `error` is the fault `code`. */
export function isFault(error: unknown, code: FaultCode): error is MillraceError {
  return error instanceof MillraceError && error.code === code;
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function fill(template: string, values: Readonly<Record<string, string | number>>): string {
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    return value === undefined ? whole : String(value);
  });
}
