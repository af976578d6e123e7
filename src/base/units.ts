// Reads and writes sizes in bytes and times in milliseconds as text.
import { describe } from "./describe.ts";
import { ZcacheError } from "./errors.ts";

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** A number, with a unit or without. */
const AMOUNT = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i;

/** Other values are not converted to text, because that could run the caller's code. */
function isAmount(value: unknown): value is string | number {
  return typeof value === "string" || typeof value === "number";
}

const SUFFIXES: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: KIB,
  kib: KIB,
  kb: 1000,
  m: MIB,
  mib: MIB,
  mb: 1e6,
  g: GIB,
  gib: GIB,
  gb: 1e9,
};

/**
 * Reads a size: a number of bytes, or a string such as `4096`, `64K`, `512MiB`, `1.5GB`.
 * @returns whole bytes, rounded down
 * @throws ZcacheError ERR_OPTION naming `what`
 */
export function parseSize(text: string | number, what: string): number {
  const match = AMOUNT.exec(isAmount(text) ? String(text).trim() : "");
  const factor = match ? SUFFIXES[match[2]!.toLowerCase()] : undefined;
  // Adds a millionth, because binary fractions just miss some numbers: 2.3 * 1e6 is 2299999.9999….
  const bytes = match && factor ? Math.floor(Number(match[1]) * factor + 1e-6) : Number.NaN;
  if (!Number.isSafeInteger(bytes)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${what}: ${describe(text)} is not a size; ` +
        "write bytes or a number with K, M or G, such as 64K",
    );
  }
  return bytes;
}

/** A size with a binary unit and three significant digits: `1.43 GiB`, `512 B`. */
export function formatBytes(bytes: number): string {
  for (const [name, unit] of [
    ["GiB", GIB],
    ["MiB", MIB],
    ["KiB", KIB],
  ] as const) {
    if (Math.abs(bytes) < unit) continue;
    const amount = bytes / unit;
    // From 999.5 on, toPrecision(3) would write 1.02e+3.
    return `${Math.abs(amount) < 999.5 ? amount.toPrecision(3) : Math.round(amount)} ${name}`;
  }
  return `${bytes} B`;
}

const TIMES: Readonly<Record<string, number>> = {
  "": 1,
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/**
 * Reads a time: a number of milliseconds, or a string such as `250ms`, `30s`, `10m`, `1.5h`, `7d`.
 * @returns milliseconds
 * @throws ZcacheError ERR_OPTION naming `what`
 */
export function parseTime(text: string | number, what: string): number {
  if (typeof text === "number" && text > 0 && text <= Number.MAX_SAFE_INTEGER) return text;
  const match = AMOUNT.exec(isAmount(text) ? String(text).trim() : "");
  const factor = match ? TIMES[match[2]!.toLowerCase()] : undefined;
  const ms = match && factor ? Number(match[1]) * factor : Number.NaN;
  if (!(ms > 0 && ms <= Number.MAX_SAFE_INTEGER)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${what}: ${describe(text)} is not a time above 0; ` +
        "write milliseconds or a number with s, m, h or d",
    );
  }
  return ms;
}
