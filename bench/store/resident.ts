// Resident memory of an arena, as the system counts it.
import { readFileSync } from "node:fs";

/**
 * The resident bytes of the mapping that has the size of an arena.
 * @param process its number, or "self"
 */
export function residentBytesOf(process: number | "self", arenaBytes: number): number {
  const size = `${arenaBytes / 1024} kB`;
  let isArena = false;
  for (const line of readFileSync(`/proc/${process}/smaps`, "utf8").split("\n")) {
    const [name, value] = line.split(/:\s+/) as [string, string | undefined];
    if (name === "Size") isArena = value === size;
    if (name === "Rss" && isArena) return Number.parseInt(value!, 10) * 1024;
  }
  return Number.NaN;
}
