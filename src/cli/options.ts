// Parsers of option values. Each returns a value, or throws an error that names the option, the
// given text and what is allowed.
import { ZcacheError } from "../base/errors.ts";
import { parseSize } from "../base/units.ts";
import { PAGE_SIZES } from "../memory/arena.ts";

/** Parses a list such as `a,b`. @returns its members in order, without repetitions */
export function parseList(text: string, what: string): string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.some((name) => name === "")) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${what}: "${text}" is not a list of names; write NAME,NAME`,
    );
  }
  return [...new Set(names)];
}

/** A whole number in [min, max]. */
export function parseWhole(text: string, what: string, min: number, max: number): number {
  const number = /^\d{1,15}$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (!(number >= min && number <= max)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${what}: "${text}" is not allowed; write a whole number from ${min} to ${max}`,
    );
  }
  return number;
}

export function parsePageSize(text: string, what = "--page-size"): number {
  const bytes = parseSize(text, what);
  if (!PAGE_SIZES.includes(bytes)) {
    const allowed = PAGE_SIZES.map((size) => `${size / 1024}K`).join(", ");
    throw new ZcacheError("ERR_OPTION", `${what}: ${text} is not allowed; write ${allowed}`);
  }
  return bytes;
}

/** A size of at least one byte, and at most `max`. */
export function parseSizeIn(text: string, what: string, max = Number.MAX_SAFE_INTEGER): number {
  const bytes = parseSize(text, what);
  if (bytes < 1 || bytes > max) {
    const most = max === Number.MAX_SAFE_INTEGER ? "" : `, at most ${max}`;
    throw new ZcacheError(
      "ERR_OPTION",
      `${what}: ${text} is not allowed; write at least 1 byte${most}`,
    );
  }
  return bytes;
}
