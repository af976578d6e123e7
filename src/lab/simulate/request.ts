// Traces of requests to a cache, as text: `time key size` on each line, separated by blanks, tabs
// or commas. Two columns are `key size`. Columns after the third are ignored, as are blank lines,
// comments and a header.
//
// A key becomes a number, so that a trace of any length needs no table of names. Whole numbers
// stay; other names become 52 bits of hash, with a negative sign. In a trace of a billion keys, one
// key in nine million collides with another.
import { ZcacheError } from "../../base/errors.ts";

/** Called with each request, in order. */
export type Visit = (key: number, sizeBytes: number) => void;

/** Larger sizes are a mistake in the trace, such as columns in another order. */
export const VALUE_BYTES_MAX = 2 ** 40;
const NUMBER = /^(?:0|[1-9]\d{0,14})$/;
const SEPARATOR = /[\s,;]+/;

/** @returns the number that stands for a key */
export function keyNumber(name: string): number {
  if (NUMBER.test(name)) return Number(name);
  let low = 0x811c_9dc5;
  let high = 0x9747_b28c;
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at);
    low = Math.imul(low ^ code, 0x0100_0193);
    high = Math.imul(high ^ code, 0x5bd1_e995);
    high ^= high >>> 15;
  }
  return -((high >>> 12) * 2 ** 32 + (mix(low ^ high) >>> 0)) - 1;
}

/** 32 well-mixed bits of a key, as a store has them. */
export function keyHash(key: number): number {
  const low = key | 0;
  const high = Math.floor(key / 2 ** 32) | 0;
  return mix(Math.imul(low ^ 0x9e37_79b9, 0x85eb_ca6b) ^ mix(high));
}

function mix(value: number): number {
  let hash = Math.imul(value ^ (value >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return hash ^ (hash >>> 16);
}

/**
 * Reads one line and passes its request on.
 * @param line 1-based, for messages; the first line may be a header
 * @throws ZcacheError ERR_TRACE naming the line
 */
export function readRequest(text: string, line: number, visit: Visit): void {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed.startsWith("#")) return;
  const columns = trimmed.split(SEPARATOR, 4);
  const [key, size] = columns.length === 2 ? columns : columns.slice(1);
  const sizeBytes = size !== undefined && /^\d{1,15}$/.test(size) ? Number(size) : Number.NaN;
  if (key !== undefined && sizeBytes <= VALUE_BYTES_MAX) {
    visit(keyNumber(key), sizeBytes);
    return;
  }
  if (line === 1 && /[a-z]/i.test(trimmed)) return;
  throw new ZcacheError(
    "ERR_TRACE",
    `line ${line}: "${trimmed.slice(0, 60)}" is not a request; a line must be ` +
      "TIME KEY SIZE or KEY SIZE, with the size in bytes",
    { context: { line } },
  );
}
