// Sizes in bytes, as people write and read them.
import { ZcacheError } from "./errors.ts";

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

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
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(String(text).trim());
  const factor = match ? SUFFIXES[match[2]!.toLowerCase()] : undefined;
  // The millionth makes up for fractions that binary numbers just miss: 2.3 * 1e6 is 2299999.9999….
  const bytes = match && factor ? Math.floor(Number(match[1]) * factor + 1e-6) : Number.NaN;
  if (!Number.isSafeInteger(bytes)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${what}: "${text}" is not a size; write bytes or a number with K, M or G, such as 64K`,
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
