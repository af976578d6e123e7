// Formats numbers for people, the same in the terminal and on the page.

/** A share as percent: `12.3 %`. */
export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** Nanoseconds as microseconds: `5.31 µs`. */
export function micros(ns: number): string {
  return `${(ns / 1000).toFixed(2)} µs`;
}

/** A ratio: `3.30x`. */
export function times(ratio: number): string {
  return `${ratio.toFixed(2)}x`;
}

/** A whole number with thousands separators: `1,234,567`. */
export function count(number: number): string {
  return number.toLocaleString("en-US");
}

/** `1 file`, `2 files`. */
export function plural(number: number, word: string): string {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}
