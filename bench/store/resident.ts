// Resident memory of arenas, as the system counts it.
import { readFileSync } from "node:fs";
import { arenaBytesMaxOf } from "../../src/store/open.ts";

/**
 * The resident bytes of all mappings that are as large as the arena of a store of one shard can
 * grow.
 * @param process its number, or "self"
 * @param memoryMax of the store, in whole pages of 64 KiB
 */
export function residentBytesOf(process: number | "self", memoryMax: number): number {
  const size = `${arenaBytesMaxOf(memoryMax) / 1024} kB`;
  let isArena = false;
  let sum = 0;
  for (const line of readFileSync(`/proc/${process}/smaps`, "utf8").split("\n")) {
    const [name, value] = line.split(/:\s+/) as [string, string | undefined];
    if (name === "Size") isArena = value === size;
    if (name === "Rss" && isArena) sum += Number.parseInt(value!, 10) * 1024;
  }
  return sum;
}
