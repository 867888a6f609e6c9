const [tab, lineEnd, carriageReturn, space] = [0x09, 0x0a, 0x0d, 0x20];
const [quote, backslash, comma, colon, point] = [0x22, 0x5c, 0x2c, 0x3a, 0x2e];
const [plus, minus, zero, nine] = [0x2b, 0x2d, 0x30, 0x39];
const [braceOpen, braceClose, bracketOpen, bracketClose] = [0x7b, 0x7d, 0x5b, 0x5d];
const [letterD, letterF, letterN, letterT, letterU, underscore] = [
  0x64, 0x66, 0x6e, 0x74, 0x75, 0x5f,
];
/** Makes a capital letter a small one. */
const small = 0x20;
const [smallA, smallE, smallF] = [0x61, 0x65, 0x66];
/** 1 for what makes an escape with the backslash before it. */
const isEscape = Uint8Array.from({ length: 256 }, (_, byte) =>
  Number('"\\/bfnrt'.includes(String.fromCharCode(byte))),
);
/** What is left to `JSON.parse`. */
const unknown = -1;
/** Of objects and arrays in each other. */
const depthMax = 64;

/**
 * Tells where JSON objects end, in one pass over their bytes and with nothing built: what
 * `JSON.parse` makes of a record is of no use before it is stored. It finds no object where
 * `JSON.parse` finds none, and does not look at those that are deep or go over several lines.
 *
 * No byte beyond the end is looked at, also where an object breaks off: such a look would make all
 * later ones several times slower. So the last byte must be one that ends whatever is read.
 */
export class Skimmer {
  #holdsSome = false;

  /** Whether `"td_` was in what was read, as it is at the beginning of placeholders. */
  get holdsSome(): boolean {
    return this.#holdsSome;
  }

  /**
   * Where the object ends that begins at a place, or behind blanks from there.
   * @param bytes UTF-8
   * @param to the end of the bytes; before it stands a brace that closes, or the end of a line
   * @returns the place behind it and the blanks that follow; -1 if none was found
   */
  end(bytes: Uint8Array, from: number, to: number): number {
    if (from >= to) return unknown;
    const last = bytes[to - 1];
    if (last !== braceClose && last !== lineEnd) return unknown;
    const at = blanksEnd(bytes, from);
    if (bytes[at] !== braceOpen) return unknown;
    const end = this.#membersEnd(bytes, at + 1, to, 1);
    return end === unknown || end === to ? end : blanksEnd(bytes, end);
  }

  #membersEnd(bytes: Uint8Array, from: number, to: number, depth: number): number {
    let at = blanksEnd(bytes, from);
    let byte = bytes[at] as number;
    if (byte === braceClose) return at + 1;
    for (;;) {
      if (byte !== quote) return unknown;
      at = this.#stringEnd(bytes, at + 1, to);
      if (at === unknown) return unknown;
      byte = bytes[at] as number;
      if (byte <= space) byte = bytes[(at = blanksEnd(bytes, at))] as number;
      if (byte !== colon) return unknown;
      at += 1;
      byte = bytes[at] as number;
      if (byte <= space) byte = bytes[(at = blanksEnd(bytes, at))] as number;
      at = this.#valueEnd(bytes, at, to, byte, depth);
      if (at === unknown || at === to) return unknown;
      byte = bytes[at] as number;
      if (byte <= space) byte = bytes[(at = blanksEnd(bytes, at))] as number;
      at += 1;
      if (byte === braceClose) return at;
      if (byte !== comma) return unknown;
      byte = bytes[at] as number;
      if (byte <= space) byte = bytes[(at = blanksEnd(bytes, at))] as number;
    }
  }

  #elementsEnd(bytes: Uint8Array, from: number, to: number, depth: number): number {
    let at = blanksEnd(bytes, from);
    if (bytes[at] === bracketClose) return at + 1;
    for (;;) {
      at = this.#valueEnd(bytes, at, to, bytes[at] as number, depth);
      if (at === unknown || at === to) return unknown;
      at = blanksEnd(bytes, at);
      const next = bytes[at];
      if (next === bracketClose) return at + 1;
      if (next !== comma) return unknown;
      at = blanksEnd(bytes, at + 1);
    }
  }

  #valueEnd(bytes: Uint8Array, at: number, to: number, first: number, depth: number): number {
    switch (first) {
      case quote:
        return this.#stringEnd(bytes, at + 1, to);
      case braceOpen:
        return depth < depthMax ? this.#membersEnd(bytes, at + 1, to, depth + 1) : unknown;
      case bracketOpen:
        return depth < depthMax ? this.#elementsEnd(bytes, at + 1, to, depth + 1) : unknown;
      case letterT:
        return wordEnd(bytes, at, 'true');
      case letterF:
        return wordEnd(bytes, at, 'false');
      case letterN:
        return wordEnd(bytes, at, 'null');
      default:
        return numberEnd(bytes, at);
    }
  }

  /** @param from behind its first quote */
  #stringEnd(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    if (bytes[at] === letterT) this.#lookAt(bytes, at);
    while (at < to) {
      const byte = bytes[at] as number;
      at += 1;
      if (byte === quote) return at;
      if (byte >= space && byte !== backslash) continue;
      if (byte !== backslash || at === to) return unknown;
      if (bytes[at] === quote) this.#lookAt(bytes, at + 1);
      at = escapeEnd(bytes, at);
      if (at === unknown) return unknown;
    }
    return unknown;
  }

  /** @param at behind a quote */
  #lookAt(bytes: Uint8Array, at: number): void {
    const isOne =
      bytes[at] === letterT && bytes[at + 1] === letterD && bytes[at + 2] === underscore;
    if (isOne) this.#holdsSome = true;
  }
}

/** The place behind blanks. The end of a line is none: it may be that of a record. */
function blanksEnd(bytes: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    const byte = bytes[at];
    if (byte !== space && byte !== tab && byte !== carriageReturn) return at;
    at += 1;
  }
}

/** @param from behind a backslash */
function escapeEnd(bytes: Uint8Array, from: number): number {
  const escaped = bytes[from] as number;
  let at = from + 1;
  if (isEscape[escaped] === 1) return at;
  if (escaped !== letterU) return unknown;
  for (const end = at + 4; at < end; at += 1) {
    if (!isHexDigit(bytes[at] as number)) return unknown;
  }
  return at;
}

function numberEnd(bytes: Uint8Array, from: number): number {
  let at = bytes[from] === minus ? from + 1 : from;
  const first = bytes[at] as number;
  if (!isDigit(first)) return unknown;
  at = first === zero ? at + 1 : digitsEnd(bytes, at);
  if (bytes[at] === point) {
    at += 1;
    if (!isDigit(bytes[at] as number)) return unknown;
    at = digitsEnd(bytes, at);
  }
  if (((bytes[at] as number) | small) !== smallE) return at;
  at += 1;
  const sign = bytes[at];
  if (sign === plus || sign === minus) at += 1;
  return isDigit(bytes[at] as number) ? digitsEnd(bytes, at) : unknown;
}

function digitsEnd(bytes: Uint8Array, from: number): number {
  let at = from;
  while (isDigit(bytes[at] as number)) at += 1;
  return at;
}

function wordEnd(bytes: Uint8Array, from: number, word: string): number {
  for (let index = 1; index < word.length; index += 1) {
    if (bytes[from + index] !== word.charCodeAt(index)) return unknown;
  }
  return from + word.length;
}

function isDigit(byte: number): boolean {
  return byte >= zero && byte <= nine;
}

function isHexDigit(byte: number): boolean {
  const letter = byte | small;
  return isDigit(byte) || (letter >= smallA && letter <= smallF);
}
