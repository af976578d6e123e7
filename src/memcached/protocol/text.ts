// Bytes of the text protocol: literals, and numbers as C's strtol reads them within a token.
import { parseU64, U64 } from "../../base/u64.ts";

export const NEWLINE = 10;
export const RETURN = 13;
export const SPACE = 32;
const PLUS = 43;
const MINUS = 45;

/** memcached's limit: a longer line is a list of keys to get, or the connection is closed. */
export const LINE_BYTES_MAX = 2048;
export const KEY_BYTES_MAX = 250;

/** The bytes of a text in ASCII. */
export function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

/** Whether the bytes at [from, to) are those of `literal`. */
export function equals(bytes: Uint8Array, from: number, to: number, literal: Uint8Array): boolean {
  if (to - from !== literal.length) return false;
  for (let i = 0; i < literal.length; i++) {
    if (bytes[from + i] !== literal[i]) return false;
  }
  return true;
}

/** What the readers of numbers give where there is none. */
export const NOT_A_NUMBER = Number.NaN;

const scratch = new U64();
const SIGN_BIT = 0x8000_0000;

/**
 * A whole number with or without a sign.
 * @returns it, rounded beyond 2⁵³; NaN if the token is no number or does not fit into 64 bits
 */
export function parseSigned(bytes: Uint8Array, from: number, to: number): number {
  const sign = bytes[from];
  const digits = sign === MINUS || sign === PLUS ? from + 1 : from;
  if (from >= to || !parseU64(bytes, digits, to, scratch)) return NOT_A_NUMBER;
  if (scratch.high >= SIGN_BIT) return NOT_A_NUMBER;
  return sign === MINUS ? -scratch.number : scratch.number;
}

/** A number of 0 … 2³² − 1. @returns it, or NaN */
export function parseU32(bytes: Uint8Array, from: number, to: number): number {
  if (from >= to || !parseU64(bytes, from, to, scratch) || scratch.high !== 0) return NOT_A_NUMBER;
  return scratch.low;
}
