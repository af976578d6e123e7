// The flags of meta commands: one letter each, some followed by a token. They are read once into
// numbers; the reply goes over the tokens again, in the client's order.
import { parseU64, U64 } from "../../base/u64.ts";
import { parseSigned, parseU32 } from "./text.ts";
import type { Tokens } from "./tokens.ts";

export const FLAG_b = 98;
export const FLAG_c = 99;
export const FLAG_f = 102;
export const FLAG_h = 104;
export const FLAG_k = 107;
export const FLAG_l = 108;
export const FLAG_s = 115;
export const FLAG_t = 116;
export const FLAG_C = 67;
export const FLAG_D = 68;
export const FLAG_E = 69;
export const FLAG_F = 70;
export const FLAG_I = 73;
export const FLAG_J = 74;
export const FLAG_M = 77;
export const FLAG_N = 78;
export const FLAG_O = 79;
export const FLAG_R = 82;
export const FLAG_T = 84;
const FLAG_q = 113;
const FLAG_u = 117;
const FLAG_v = 118;
const FLAG_x = 120;
/** For proxies; a server ignores them. */
const FLAG_L = 76;
const FLAG_P = 80;

/** Letters of an opaque token, with its flag. */
const OPAQUE_BYTES_MAX = 32;
/** memcached's limit of flags in a line. */
const FLAGS_MAX = 21;

/** Why flags are refused; 0: they are good. */
export type FlagError = number;
export const FLAGS_GOOD = 0;
export const FLAGS_TOO_MANY = 1;
export const FLAG_TWICE = 2;
export const FLAG_UNKNOWN = 3;
export const FLAG_BAD_TOKEN = 4;
export const FLAG_BAD_MODE = 5;
export const FLAG_BAD_INITIAL = 6;
export const FLAG_BAD_DELTA = 7;
export const FLAG_LONG_OPAQUE = 8;
/** A bad number, for which memcached has no error of its own. */
export const FLAG_BAD_FORMAT = 9;

export class MetaFlags {
  keyBinary = false;
  quiet = false;
  value = false;
  noBump = false;
  invalidate = false;
  emptied = false;
  hasRecache = false;
  hasVivify = false;
  hasExpiry = false;
  hasCas = false;
  hasNewCas = false;
  /** T stands before R. */
  touchFirst = false;
  /** N stands behind T. */
  vivifyLast = false;
  /** Asks for more than a plain read, which takes one look. */
  special = false;
  /** The number of the token that is wrong, and of the one that says base64; 0: none. */
  errorAt = 0;
  keyBinaryAt = 0;
  /** Times as the client gave them, in seconds (`expiryOf` of items/lifetime.ts). */
  recache = 0;
  vivify = 0;
  expiry = 0;
  clientFlags = 0;
  /** The letter behind M, 0 if there is none. */
  mode = 0;
  readonly cas = new U64();
  readonly newCas = new U64();
  readonly initial = new U64();
  readonly delta = new U64();
  readonly #seen = new Uint8Array(128);

  /**
   * Reads the tokens from number `first` on.
   * @returns FLAGS_GOOD, or the error that memcached reports: an unknown or duplicate flag first,
   *   else the last error
   */
  read(bytes: Uint8Array, tokens: Tokens, first: number): FlagError {
    this.#reset();
    this.errorAt = this.keyBinaryAt = 0;
    if (tokens.count > FLAGS_MAX) return FLAGS_TOO_MANY;
    this.#seen.fill(0);
    let error = FLAGS_GOOD;
    for (let i = first; i < tokens.count; i++) {
      const from = tokens.from[i]!;
      const letter = bytes[from]!;
      if (letter > 126 || this.#seen[letter] !== 0) return FLAG_TWICE;
      this.#seen[letter] = 1;
      if (letter === FLAG_b) this.keyBinaryAt = i;
      const found = this.#readOne(letter, bytes, from + 1, tokens.to[i]!);
      if (found === FLAG_UNKNOWN) return found;
      if (found === FLAGS_GOOD || (isWeak(found) && error !== FLAGS_GOOD)) continue;
      this.errorAt = isWeak(found) ? 0 : i;
      error = found;
    }
    return error;
  }

  #reset(): void {
    this.keyBinary = this.quiet = this.value = this.noBump = this.invalidate = false;
    this.emptied = this.hasRecache = this.hasVivify = this.hasExpiry = this.hasCas = false;
    this.hasNewCas = this.touchFirst = this.vivifyLast = this.special = false;
    this.clientFlags = this.mode = 0;
    this.initial.set(0, 0);
    this.delta.set(0, 1);
  }

  #readOne(letter: number, bytes: Uint8Array, from: number, to: number): FlagError {
    switch (letter) {
      case FLAG_b:
        this.keyBinary = true;
        return FLAGS_GOOD;
      case FLAG_q:
        this.quiet = true;
        return FLAGS_GOOD;
      case FLAG_v:
        this.value = true;
        return FLAGS_GOOD;
      case FLAG_u:
        this.noBump = this.special = true;
        return FLAGS_GOOD;
      case FLAG_x:
        this.emptied = true;
        return FLAGS_GOOD;
      case FLAG_I:
        this.invalidate = true;
        return FLAGS_GOOD;
      case FLAG_l:
      case FLAG_h:
        this.special = true;
        return FLAGS_GOOD;
      case FLAG_c:
      case FLAG_f:
      case FLAG_k:
      case FLAG_s:
      case FLAG_t:
      case FLAG_L:
      case FLAG_P:
        return FLAGS_GOOD;
      case FLAG_O:
        return to - from + 1 > OPAQUE_BYTES_MAX ? FLAG_LONG_OPAQUE : FLAGS_GOOD;
      default:
        return this.#readNumber(letter, bytes, from, to);
    }
  }

  #readNumber(letter: number, bytes: Uint8Array, from: number, to: number): FlagError {
    switch (letter) {
      case FLAG_F:
        this.clientFlags = parseU32(bytes, from, to);
        return Number.isNaN(this.clientFlags) ? FLAG_BAD_FORMAT : FLAGS_GOOD;
      case FLAG_C:
        this.hasCas = true;
        return parseU64(bytes, from, to, this.cas) ? FLAGS_GOOD : FLAG_BAD_TOKEN;
      case FLAG_E:
        this.hasNewCas = true;
        return parseU64(bytes, from, to, this.newCas) ? FLAGS_GOOD : FLAG_BAD_TOKEN;
      case FLAG_J:
        return parseU64(bytes, from, to, this.initial) ? FLAGS_GOOD : FLAG_BAD_INITIAL;
      case FLAG_D:
        return parseU64(bytes, from, to, this.delta) ? FLAGS_GOOD : FLAG_BAD_DELTA;
      case FLAG_M:
        this.mode = bytes[from] ?? 0;
        return to - from === 1 ? FLAGS_GOOD : FLAG_BAD_MODE;
      default:
        return this.#readTime(letter, parseSigned(bytes, from, to));
    }
  }

  #readTime(letter: number, seconds: number): FlagError {
    switch (letter) {
      case FLAG_N:
        this.hasVivify = this.special = true;
        this.vivifyLast = this.hasExpiry;
        this.vivify = seconds;
        break;
      case FLAG_T:
        this.hasExpiry = this.special = true;
        this.expiry = seconds;
        this.touchFirst = !this.hasRecache;
        break;
      case FLAG_R:
        this.hasRecache = this.special = true;
        this.recache = seconds;
        break;
      default:
        return FLAG_UNKNOWN;
    }
    return Number.isNaN(seconds) ? FLAG_BAD_TOKEN : FLAGS_GOOD;
  }
}

/** Any other error replaces such an error. */
function isWeak(error: FlagError): boolean {
  return error === FLAG_BAD_FORMAT || error === FLAG_LONG_OPAQUE;
}
