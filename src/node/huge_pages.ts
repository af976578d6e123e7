// Huge pages: asks the system for them where it gives them on demand.
//
// A huge page, of 2 MiB on most machines, is populated by one page fault instead of 512, and needs
// one entry of the processor's address caches. It is populated as a whole, so a small store would
// take more memory than it needs.
import { readFileSync } from "node:fs";
import type { Address } from "../base/brand.ts";
import { MIB } from "../base/units.ts";
import { ResidentMemory } from "../store/resident_memory.ts";
import { type Store, stateOf } from "../store/store.ts";
import { ArenaMemory, type MemoryCalls, memoryCalls } from "./memory_calls.ts";

/** How the system gives huge pages: `always [madvise] never`. */
const POLICY = "/sys/kernel/mm/transparent_hugepage/enabled";
/** A smaller arena gets none: half a huge page too much would be more than 2 % of it. */
const ARENA_BYTES_MIN = 64 * MIB;

/**
 * Asks for huge pages in all shards of a new store, if its options say so; the statistics say
 * whether it was done, and why not.
 * @param load the calls of the system, and @param policy the system's policy, for tests
 */
export function useHugePages(
  shards: readonly Store[],
  load: () => MemoryCalls = memoryCalls,
  policy: () => string = () => readFileSync(POLICY, "utf8"),
): void {
  for (const shard of shards) {
    if (shard.options.hugePages === "off") continue;
    const resident = new ResidentMemory(stateOf(shard));
    const isSmall = shard.arena.sizeBytes < ARENA_BYTES_MIN;
    const reason = isSmall
      ? "the store is too small for huge pages"
      : refusalOf(resident.bytes, load, policy);
    resident.setHugePages(reason);
  }
}

/**
 * @param bytes of the arena at its largest: what it grows by gets huge pages too
 * @returns why there are no huge pages, or undefined
 */
function refusalOf(
  bytes: Uint8Array,
  load: () => MemoryCalls,
  policy: () => string,
): string | undefined {
  try {
    const chosen = /\[(\w+)\]/.exec(policy())?.[1];
    if (chosen === "always") return undefined;
    if (chosen !== "madvise") return `the system gives no huge pages: ${POLICY} says ${chosen}`;
    const memory = new ArenaMemory(bytes, load());
    memory.useHugePages(0 as Address, bytes.length);
    return memory.failure;
  } catch (error) {
    return (error as Error).message;
  }
}
