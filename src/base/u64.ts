// Unsigned 64-bit numbers as two 32-bit halves, with reading and writing of decimal digits. A
// BigInt would allocate an object for each, and a number is exact up to 2⁵³ only.

const TWO_32 = 2 ** 32;
/** Any number with so many digits is exact. */
const EXACT_DIGITS = 15;
const ZERO = 48;
const NINE = 57;

/** One number, allocated once and reused. */
export class U64 {
  /** Both halves are 0 … 2³² − 1. */
  high = 0;
  low = 0;

  set(high: number, low: number): void {
    this.high = high >>> 0;
    this.low = low >>> 0;
  }

  /** @param value 0 … 2⁵³ − 1 */
  setNumber(value: number): void {
    this.high = Math.floor(value / TWO_32);
    this.low = value >>> 0;
  }

  /** The value as a number, exact up to 2⁵³. */
  get number(): number {
    return this.high * TWO_32 + this.low;
  }

  get isZero(): boolean {
    return (this.high | this.low) === 0;
  }

  equals(high: number, low: number): boolean {
    return this.high === high && this.low === low;
  }

  /** −1, 0 or 1 if this is less than, equal to or greater than the other. */
  compare(high: number, low: number): number {
    if (this.high !== high) return this.high < high ? -1 : 1;
    return this.low === low ? 0 : this.low < low ? -1 : 1;
  }

  /** Adds, and wraps at 2⁶⁴. */
  add(high: number, low: number): void {
    const sum = this.low + low;
    this.high = (this.high + high + (sum >= TWO_32 ? 1 : 0)) >>> 0;
    this.low = sum >>> 0;
  }

  /** Subtracts; the result is 0 if the other is greater. */
  subtract(high: number, low: number): void {
    if (this.compare(high, low) < 0) {
      this.set(0, 0);
      return;
    }
    const borrow = this.low < low ? 1 : 0;
    this.low = (this.low - low) >>> 0;
    this.high = (this.high - high - borrow) >>> 0;
  }
}

/**
 * Reads decimal digits only.
 * @returns whether they are a number below 2⁶⁴; `out` is valid only then
 */
export function parseU64(bytes: Uint8Array, from: number, to: number, out: U64): boolean {
  if (to <= from) return false;
  const exactTo = Math.min(to, from + EXACT_DIGITS);
  let value = 0;
  for (let at = from; at < exactTo; at++) {
    const byte = bytes[at]!;
    if (byte < ZERO || byte > NINE) return false;
    value = value * 10 + (byte - ZERO);
  }
  out.setNumber(value);
  for (let at = exactTo; at < to; at++) {
    const byte = bytes[at]!;
    if (byte < ZERO || byte > NINE) return false;
    const low = out.low * 10 + (byte - ZERO);
    const high = out.high * 10 + Math.floor(low / TWO_32);
    if (high >= TWO_32) return false;
    out.high = high;
    out.low = low >>> 0;
  }
  return true;
}

/** Writes an unsigned number below 2³² in decimal. @returns where the digits end */
export function writeU32(bytes: Uint8Array, at: number, value: number): number {
  if (value < 10) {
    bytes[at] = ZERO + value;
    return at + 1;
  }
  let digits = 2;
  for (let limit = 100; limit <= value; limit *= 10) digits++;
  let rest = value;
  for (let i = digits - 1; i >= 0; i--) {
    // Not a bit operation: the quotient of a number from 2³¹ on is not a small integer.
    const tenth = rest < 0x8000_0000 ? (rest / 10) | 0 : Math.floor(rest / 10);
    bytes[at + i] = ZERO + (rest - tenth * 10);
    rest = tenth;
  }
  return at + digits;
}

/** The most digits that `writeU64` writes. */
export const U64_DIGITS_MAX = 20;

/** Writes a 64-bit number in decimal. @returns where the digits end */
export function writeU64(bytes: Uint8Array, at: number, high: number, low: number): number {
  if (high === 0) return writeU32(bytes, at, low);
  // Divided by 10⁹ with the remainder carried from half to half, so that each step stays exact.
  const top = Math.floor(high / 1e9);
  const upper = (high - top * 1e9) * TWO_32;
  // (remainder · 2³² + low) is below 10⁹ · 2³², which is more than 2⁵³: split once more, by 2¹⁶.
  const remainder = upper / TWO_32;
  const first = remainder * 65_536 + (low >>> 16);
  const quotientHigh = Math.floor(first / 1e9);
  const second = (first - quotientHigh * 1e9) * 65_536 + (low & 0xffff);
  const quotientLow = Math.floor(second / 1e9);
  const last = second - quotientLow * 1e9;
  // The quotient, at most 2⁶⁴ / 10⁹, is exact as a number.
  const quotient = top * TWO_32 + quotientHigh * 65_536 + quotientLow;
  return writePadded(bytes, writeNumber(bytes, at, quotient), last);
}

/** A number below 2⁵³. */
function writeNumber(bytes: Uint8Array, at: number, value: number): number {
  if (value < TWO_32) return writeU32(bytes, at, value);
  const quotient = Math.floor(value / 1e9);
  return writePadded(bytes, writeNumber(bytes, at, quotient), value - quotient * 1e9);
}

/** Nine digits, with zeros in front. */
function writePadded(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  for (let i = 8; i >= 0; i--) {
    const tenth = (rest / 10) | 0;
    bytes[at + i] = ZERO + (rest - tenth * 10);
    rest = tenth;
  }
  return at + 9;
}
