// Resident memory of arenas, as the system counts it.
import { readFileSync } from "node:fs";
import { KIB } from "../../src/base/units.ts";
import { memoryCalls } from "../../src/node/memory_calls.ts";

/** Why memory can't be returned to the system here; undefined if it can. */
export function whyNotReturned(): string | undefined {
  try {
    memoryCalls();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * Resident bytes of all mappings of the process that have one of these sizes: a test chooses sizes
 * that no other mapping has.
 */
export function residentBytes(sizes: readonly number[]): number {
  const wanted = new Set(sizes.map((bytes) => `${bytes / KIB} kB`));
  let isWanted = false;
  let sum = 0;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const [name, value] = line.split(/:\s+/) as [string, string | undefined];
    if (name === "Size") isWanted = wanted.has(value!);
    if (name === "Rss" && isWanted) sum += Number.parseInt(value!, 10) * KIB;
  }
  return sum;
}
